//! Everything at once: sixteen connections do whatever comes to their minds, write down what they
//! were answered, and in the end the answers alone tell what must be in the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::future::join_all;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio_postgres::{Client, Error};

use super::{Queue, enqueue, tick};
use crate::support::fixture::id;
use crate::support::platform::{release, release_batch, sqlstate};
use crate::support::race_time;

/// Sessions that calls choose from, the youngest of all that ever were.
const WINDOW: u64 = 200;
/// What a changing limit is at most.
const MOST: i64 = 12;

/// What the answers say that happened to a session.
#[derive(Clone, Debug, Default)]
struct Story {
    enqueued: usize,
    placed: usize,
    released: usize,
    cancelled: usize,
    /// Ended before anybody knew it, or forgotten before it was ended again.
    remembered: usize,
}

type Stories = BTreeMap<u64, Story>;

/// One of the connections.
struct Roamer {
    client: Client,
    rng: StdRng,
    youngest: Arc<AtomicU64>,
    stories: Stories,
}

const WAITING: [&str; 12] = [
    "start_time",
    "dependencies",
    "key_inactive",
    "concurrency_limit",
    "system_concurrency_limit",
    "keypair_quota",
    "user_quota",
    "project_quota",
    "resource_group_quota",
    "domain_quota",
    "no_agent_fits",
    "designated_agent",
];

impl Roamer {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(&mut self.rng).expect("some")
    }

    fn some_session(&mut self) -> u64 {
        let youngest = self.youngest.load(Ordering::Relaxed);
        self.rng.random_range(youngest.saturating_sub(WINDOW)..=youngest)
    }

    fn story(&mut self, n: u64) -> &mut Story {
        self.stories.entry(n).or_default()
    }

    fn ended(&mut self, n: u64, outcome: &str) {
        let story = self.story(n);
        match outcome {
            "released" => story.released += 1,
            "cancelled" => story.cancelled += 1,
            "unknown" => story.remembered += 1,
            "already_released" | "already_cancelled" | "placed" => {}
            _ => panic!("{outcome} of {n}"),
        }
    }

    async fn enqueue(&mut self) -> Result<(), Error> {
        // Mostly one that nobody ever saw.
        let n = if self.rng.random_bool(0.7) {
            self.youngest.fetch_add(1, Ordering::Relaxed) + 1
        } else {
            self.some_session()
        };
        let group = self.pick(&["default", "other"]);
        let cpu = self.pick(&["0.5", "1", "2", "3"]);
        let mut kernels = vec![json!({"slots": {"cpu": cpu}}); self.rng.random_range(1..=2)];
        if self.rng.random_bool(0.1) {
            kernels[0]["agent"] = json!(self.pick(&["a1", "b1"]));
        }
        let (dependency, second) = (id(self.some_session().into()), id(self.some_session().into()));
        let request = json!({
            "session_id": id(n.into()),
            "access_key": self.pick(&["AK", "AK2", "BK"]),
            "kernels": kernels,
            "session_type": self.pick(&["interactive", "batch", "interactive", "system"]),
            "project": self.pick(&[None, Some("p")]),
            "resource_group": group,
            "cluster_mode": self.pick(&["single-node", "multi-node"]),
            "priority": self.rng.random_range(0..=100),
            "dependencies": if self.rng.random_bool(0.15) { vec![dependency, second] } else { vec![] },
        });
        let answer = enqueue(&self.client, &request).await;
        if let Some(code) = sqlstate(&answer) {
            // Another content, a dependency that nobody knows, one on itself, an agent of the other group.
            assert!(["OC006", "OC004", "OC005"].contains(&code), "{answer:?}");
            return Ok(());
        }
        let answer = answer?;
        let (outcome, codes) = answer.split_once(' ').unwrap_or((&answer, ""));
        let legal = match outcome {
            "enqueued" => {
                self.story(n).enqueued += 1;
                codes.is_empty()
            }
            "already_enqueued" => codes.is_empty(),
            _ => codes.split(' ').all(|code| {
                ["pending_sessions", "pending_resource_slots", "key_inactive", "session_ended"]
                    .contains(&code)
            }),
        };
        assert!(legal, "{answer}");
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), Error> {
        let group = self.pick(&["default", "other"]);
        let policy = self.pick(&["fifo", "lifo", "drf"]);
        let selector = self.pick(&["concentrated", "dispersed", "roundrobin", "legacy"]);
        let most = self.rng.random_range(1..=60_usize);
        let tries = self.rng.random_range(0..=3);
        let arguments = format!("'{group}', {most}, '{policy}', '{selector}', {tries}");
        let lines = tick(&self.client, &arguments).await?;
        assert!(lines.len() <= most, "{arguments}: {lines:?}");
        let mut seen = BTreeSet::new();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let n: u64 = words[0].parse().expect("a number");
            assert!(seen.insert(n), "{n} twice in one tick");
            let agents = if group == "default" { 'a' } else { 'b' };
            let legal = match words[1] {
                "->" => {
                    self.story(n).placed += 1;
                    words.len() > 2 && words[2..].iter().all(|agent| agent.starts_with(agents))
                }
                _ => words.len() > 2 && words[2..].iter().all(|code| WAITING.contains(code)),
            };
            assert!(legal, "{line}");
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Error> {
        let n = self.some_session();
        match self.rng.random_range(0..10) {
            0..=5 => {
                let outcome = release(&self.client, id(n.into())).await?;
                self.ended(n, &outcome);
            }
            6..=7 => {
                let batch: Vec<u64> = (0..20)
                    .map(|_| self.some_session())
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect();
                let ids: Vec<_> = batch.iter().map(|n| id((*n).into())).collect();
                let outcomes = release_batch(&self.client, &ids).await?;
                for (n, outcome) in batch.iter().zip(outcomes) {
                    self.ended(*n, &outcome);
                }
            }
            _ => {
                let sql = "select outcome from occupancy.cancel_session($1)";
                let row = self.client.query_one(sql, &[&id(n.into())]).await?;
                self.ended(n, row.get(0));
            }
        }
        Ok(())
    }

    async fn administer(&mut self) -> Result<(), Error> {
        let limit = self.rng.random_range(1..=MOST);
        let active = self.rng.random_bool(0.8);
        let cpu = self.pick(&["2", "3.5", "4"]);
        let status = self.pick(&["ALIVE", "ALIVE", "LOST"]);
        let call = match self.rng.random_range(0..9) {
            0..=1 => format!("put_resource_policy('open', {limit}, 3, max_pending_sessions => 60)"),
            2 => format!("put_quota('user', 'alice', {limit})"),
            3 => format!("put_keypair('AK2', 'alice', 'open', {active}, 'd')"),
            4 => format!("put_agent('a4', '{{\"cpu\": {cpu}}}', status => '{status}')"),
            5 => "prune_ended('20 s')".to_owned(),
            6 => "recalc_concurrency_fullscan()".to_owned(),
            7 => "recalc_agents_fullscan()".to_owned(),
            _ => "recalc_quotas_fullscan()".to_owned(),
        };
        let rows = self.client.query(&format!("select occupancy.{call}"), &[]).await?;
        assert!(!call.starts_with("recalc") || rows.is_empty(), "{call} corrected {}", rows.len());
        Ok(())
    }

    async fn roam(mut self, until: Instant) -> Stories {
        while Instant::now() < until {
            let result = match self.rng.random_range(0..100) {
                0..45 => self.enqueue().await,
                45..60 => self.tick().await,
                60..95 => self.end().await,
                _ => self.administer().await,
            };
            if let Err(error) = result {
                panic!("{error:?}");
            }
        }
        self.stories
    }
}

/// Nothing is ever beyond what was allowed at most.
async fn assert_within_limits(q: &Queue) {
    let beyond = format!(
        "select 'agent ' || agent_id from occupancy.agent_occupancy
          where (occupied_slots ->> 'cpu')::numeric > 4
         union all
         select scope || ' ' || scope_id from occupancy.quotas
          where used > case scope when 'user' then {MOST} when 'project' then 5 else 9 end
         union all
         select access_key from occupancy.concurrency
          where compute_used > {MOST} or system_used > 3
         union all
         select access_key from occupancy.key_queue where sessions > 60"
    );
    assert_eq!(q.ask(&beyond).await, "");
}

/// What the answers say must be in the tables.
async fn assert_told(q: &Queue, stories: &Stories) {
    let sql = "select ('x' || right(session_id::text, 8))::bit(32)::bigint,
                      occupancy.session_status(status, stage) from occupancy.session";
    let rows = q.platform.admin.query(sql, &[]).await.expect("read");
    let stored: BTreeMap<u64, String> = rows
        .iter()
        .map(|row| (row.get::<_, i64>(0).try_into().expect("positive"), row.get(1)))
        .collect();
    for n in stored.keys() {
        assert!(stories.contains_key(n), "session {n} came from nowhere");
    }
    for (n, story) in stories {
        let ends = story.released + story.cancelled;
        assert!(story.enqueued <= 1 && story.placed <= story.enqueued, "{n}: {story:?}");
        assert!(ends <= story.enqueued, "{n} ended more than once: {story:?}");
        assert!(story.cancelled == 0 || story.placed == 0, "{n}: {story:?}");
        let legal: &[Option<&str>] = match (story.enqueued, ends, story.placed) {
            (0, ..) if story.remembered == 0 => &[None],
            // One that is forgotten may have been remembered again by a later call.
            (0, ..) => &[Some("CANCELLED"), None],
            (_, 0, 0) => &[Some("PENDING")],
            (_, 0, _) => &[Some("SCHEDULED")],
            (_, _, 0) => &[Some("CANCELLED"), None],
            _ if story.remembered > 0 => &[Some("TERMINATED"), Some("CANCELLED"), None],
            _ => &[Some("TERMINATED"), None],
        };
        let found = stored.get(n).map(String::as_str);
        assert!(legal.contains(&found), "session {n} is {found:?} after {story:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_at_once_nothing_is_exceeded_lost_or_in_anybodys_way() {
    let q = Queue::with(4).await;
    q.run(&format!(
        "select occupancy.put_agent('b' || n, '{{\"cpu\": 4}}', 'other') from generate_series(1, 4) as n;
         select occupancy.put_resource_policy('open', {MOST}, 3, max_pending_sessions => 60);
         select occupancy.put_quota('user', 'alice', {MOST});
         select occupancy.put_quota('project', 'p', 5);
         select occupancy.put_quota('resource_group', 'other', 9);
         select occupancy.put_quota('domain', 'd', 9);"
    ))
    .await;
    let until = Instant::now() + race_time();
    let youngest = Arc::new(AtomicU64::new(WINDOW));
    let crowd = q.platform.crowd(16).await;
    let roaming: Vec<_> = (0..)
        .zip(crowd.clients)
        .map(|(seed, client)| {
            let rng = StdRng::seed_from_u64(seed);
            let youngest = Arc::clone(&youngest);
            let roamer = Roamer { client, rng, youngest, stories: Stories::new() };
            tokio::spawn(roamer.roam(until))
        })
        .collect();
    while Instant::now() < until {
        q.platform.assert_sound().await;
        assert_within_limits(&q).await;
    }
    let mut stories = Stories::new();
    for outcome in join_all(roaming).await {
        for (n, told) in outcome.expect("no mistake") {
            let story = stories.entry(n).or_default();
            story.enqueued += told.enqueued;
            story.placed += told.placed;
            story.released += told.released;
            story.cancelled += told.cancelled;
            story.remembered += told.remembered;
        }
    }
    q.platform.assert_sound().await;
    q.platform.assert_no_conflict_logged().await;
    assert_told(&q, &stories).await;
    let placed: usize = stories.values().map(|story| story.placed).sum();
    let enqueued: usize = stories.values().map(|story| story.enqueued).sum();
    println!("{enqueued} enqueued, {placed} placed");
    assert!(placed > 0, "nothing happened");
}
