//! The model: what must be so, written down as plainly as it can be.
//!
//! It keeps no counters and no order: whatever is counted, occupied or ranked is worked out anew from
//! the sessions, with amounts as integers in tenths.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Amounts by name, in tenths; a zero is left out.
pub(super) type Slots = BTreeMap<&'static str, i64>;

/// In the order in which selectors compare them.
pub(super) const NAMES: [&str; 3] = ["cuda.shares", "cpu", "mem"];
pub(super) const SCOPES: [&str; 4] = ["user", "project", "resource_group", "domain"];

fn tenths(amount: i64) -> String {
    let sign = if amount < 0 { "-" } else { "" };
    let (whole, rest) = (amount.abs() / 10, amount.abs() % 10);
    if rest == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
}

/// As `slots_words` writes them.
fn words<'a>(slots: impl IntoIterator<Item = (&'a &'static str, &'a i64)>) -> String {
    let words: Vec<_> =
        slots.into_iter().map(|(name, n)| format!("{} {name}", tenths(*n))).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

fn add(sum: &mut Slots, more: &Slots, sign: i64) {
    for (name, amount) in more {
        *sum.entry(name).or_default() += sign * amount;
    }
    sum.retain(|_, amount| *amount != 0);
}

fn of(slots: &Slots, name: &str) -> i64 {
    slots.get(name).copied().unwrap_or_default()
}

#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    pub(super) max_sessions: Option<i64>,
    pub(super) total: Option<Slots>,
    pub(super) limited: bool,
}

impl Limits {
    fn of(&self, name: &str) -> Option<i64> {
        let total = self.total.as_ref()?;
        total.get(name).copied().or(self.limited.then_some(0))
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    pub(super) limits: Limits,
    pub(super) max_system: Option<i64>,
    pub(super) max_pending: Option<i64>,
    pub(super) max_pending_slots: Option<Slots>,
    pub(super) max_kernels: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) user: String,
    pub(super) active: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) group: String,
    pub(super) usable: bool,
    pub(super) available: Slots,
}

/// What a caller wants to wait, or with an agent for every kernel reserves.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) key: String,
    pub(super) session_type: &'static str,
    pub(super) project: Option<String>,
    pub(super) group: String,
    pub(super) priority: i64,
    pub(super) starts_at: Option<i64>,
    pub(super) dependencies: BTreeSet<u8>,
    pub(super) multi_node: bool,
    pub(super) kernels: Vec<(Option<String>, Slots)>,
}

impl Request {
    fn is_system(&self) -> bool {
        self.session_type == "system"
    }

    fn total(&self) -> Slots {
        let mut total = Slots::new();
        self.kernels.iter().for_each(|(_, slots)| add(&mut total, slots, 1));
        total
    }

    /// What must run on one agent: its place among all, which agent, if that is said, and the slots.
    /// Those that name one come first.
    fn parts(&self) -> Vec<(usize, Option<String>, Slots)> {
        if !self.multi_node {
            return vec![(
                0,
                self.kernels.iter().find_map(|(agent, _)| agent.clone()),
                self.total(),
            )];
        }
        let kernels = self.kernels.iter().enumerate();
        let mut parts: Vec<_> =
            kernels.map(|(at, (agent, slots))| (at, agent.clone(), slots.clone())).collect();
        parts.sort_by_key(|(_, agent, _)| agent.is_none());
        parts
    }
}

#[derive(Clone, Debug)]
struct Session {
    /// PENDING, RUNNING, TERMINATING, TERMINATED or CANCELLED.
    status: &'static str,
    /// Where it stands if it came through the queue or was moved by hand.
    stage: Option<&'static str>,
    request: Option<Request>,
    position: u64,
    enqueued_at: i64,
    tries: i64,
    tried_at: i64,
    /// An agent for each kernel.
    agents: Vec<String>,
    charged: [Option<String>; 4],
}

impl Session {
    fn is_active(&self, system: bool) -> bool {
        self.status == "RUNNING" && self.request.as_ref().is_some_and(|r| r.is_system() == system)
    }

    fn ended_well(&self) -> bool {
        self.status == "TERMINATED" && self.stage != Some("ERROR")
    }

    fn has_ended(&self) -> bool {
        ["TERMINATED", "CANCELLED"].contains(&self.status)
    }

    fn shown(&self) -> &'static str {
        match (self.status, self.stage) {
            ("RUNNING", Some(stage)) => stage,
            (status, _) => status,
        }
    }
}

/// Everything there is.
#[derive(Default)]
pub(super) struct World {
    pub(super) policy: Policy,
    pub(super) keys: BTreeMap<String, Key>,
    pub(super) agents: BTreeMap<String, Agent>,
    pub(super) quotas: BTreeMap<(&'static str, String), Limits>,
    pub(super) now: i64,
    sessions: BTreeMap<u8, Session>,
    /// What PENDING sessions still wait for.
    waits_for: BTreeSet<(u8, u8)>,
    last_agents: BTreeMap<String, String>,
    positions: u64,
}

/// How a tick is called.
#[derive(Clone, Debug)]
pub(super) struct Tick {
    pub(super) group: u8,
    pub(super) most: usize,
    pub(super) policy: &'static str,
    pub(super) selector: &'static str,
    pub(super) tries: i64,
}

type Answer = Result<String, &'static str>;

// Counting.
impl World {
    fn active_of(&self, key: &str, system: bool) -> impl Iterator<Item = &Request> {
        self.sessions
            .values()
            .filter(move |s| s.is_active(system))
            .filter_map(|s| s.request.as_ref())
            .filter(move |request| request.key == key)
    }

    fn count(&self, key: &str, system: bool) -> i64 {
        i64::try_from(self.active_of(key, system).count()).expect("few")
    }

    fn key_slots(&self, key: &str) -> Slots {
        let mut sum = Slots::new();
        self.active_of(key, false).for_each(|request| add(&mut sum, &request.total(), 1));
        sum
    }

    fn pending_of(&self, key: &str) -> (i64, Slots) {
        let (mut count, mut sum) = (0, Slots::new());
        let pending = self.sessions.values().filter(|session| session.status == "PENDING");
        for request in pending.filter_map(|session| session.request.as_ref()) {
            if request.key == key && !request.is_system() {
                count += 1;
                add(&mut sum, &request.total(), 1);
            }
        }
        (count, sum)
    }

    fn quota_use(&self, scope: &str, id: &str) -> (i64, Slots) {
        let n = SCOPES.iter().position(|s| *s == scope).expect("a scope");
        let (mut count, mut sum) = (0, Slots::new());
        for session in self.sessions.values().filter(|session| session.is_active(false)) {
            if session.charged[n].as_deref() == Some(id) {
                count += 1;
                add(&mut sum, &session.request.as_ref().expect("placed").total(), 1);
            }
        }
        (count, sum)
    }

    fn occupied(&self, agent: &str) -> Slots {
        let mut sum = Slots::new();
        for session in self.sessions.values() {
            let holds = ["RUNNING", "TERMINATING"].contains(&session.status);
            let kernels = session.request.iter().flat_map(|request| &request.kernels);
            for (_, (_, slots)) in
                session.agents.iter().zip(kernels).filter(|(on, _)| holds && *on == agent)
            {
                add(&mut sum, slots, 1);
            }
        }
        sum
    }

    fn free(&self, agent: &str) -> Slots {
        let mut free = self.agents[agent].available.clone();
        add(&mut free, &self.occupied(agent), -1);
        free
    }

    fn usable(&self, group: &str) -> impl Iterator<Item = &String> {
        let usable = move |(_, agent): &(&String, &Agent)| agent.usable && agent.group == group;
        self.agents.iter().filter(usable).map(|(id, _)| id)
    }

    /// All that is counted, as the driver reads it from the database.
    pub(super) fn picture(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for key in self.keys.keys() {
            let (pending, pending_slots) = self.pending_of(key);
            lines.push(format!(
                "key {key}: {} {} {}, {pending} {}",
                self.count(key, false),
                self.count(key, true),
                words(&self.key_slots(key)),
                words(&pending_slots)
            ));
        }
        for agent in self.agents.keys() {
            lines.push(format!("agent {agent}: {}", words(&self.occupied(agent))));
        }
        for (scope, id) in self.quotas.keys() {
            let (used, slots) = self.quota_use(scope, id);
            lines.push(format!("quota {scope} {id}: {used} {}", words(&slots)));
        }
        for (n, session) in &self.sessions {
            let tries = if session.status == "PENDING" { session.tries } else { 0 };
            lines.push(format!(
                "session {n}: {} {tries} {}",
                session.shown(),
                session.agents.join(" ")
            ));
        }
        lines.sort();
        lines
    }
}

/// A violation as the driver reads it.
fn violation(code: &str, id: &str, slot: Option<&str>, numbers: [String; 3]) -> String {
    let [used, requested, max] = numbers;
    let slot = slot.map(|slot| format!("|{slot}")).unwrap_or_default();
    format!("{code}|{id}{slot}|{used}|{requested}|{max}")
}

/// What does not fit beside what is used.
fn over(
    code: &str,
    id: &str,
    asked: &Slots,
    used: &Slots,
    max: impl Fn(&str) -> Option<i64>,
) -> Vec<String> {
    let over = |(name, amount): (&&'static str, &i64)| {
        let (used, max) = (of(used, name), max(name)?);
        (used + amount > max)
            .then(|| violation(code, id, Some(name), [used, *amount, max].map(tenths)))
    };
    asked.iter().filter_map(over).collect()
}

fn one_more(code: &str, id: &str, used: i64, max: Option<i64>) -> Option<String> {
    let max = max.filter(|max| used + 1 > *max)?;
    Some(violation(code, id, None, [used, 1, max].map(|n| n.to_string())))
}

fn uuid(n: u8) -> String {
    crate::support::fixture::id(u128::from(n)).to_string()
}

// Waiting and ending.
impl World {
    fn closes_a_circle(&self, n: u8, dependencies: &BTreeSet<u8>) -> bool {
        let (mut ahead, mut seen) = (dependencies.clone(), BTreeSet::new());
        while let Some(next) = ahead.pop_first() {
            if seen.insert(next) {
                ahead.extend(self.waits_for.iter().filter(|(s, _)| *s == next).map(|(_, d)| *d));
            }
        }
        seen.contains(&n)
    }

    fn designated_mistake(&self, request: &Request) -> Option<&'static str> {
        let named: BTreeSet<_> =
            request.kernels.iter().filter_map(|(agent, _)| agent.as_ref()).collect();
        named.into_iter().find_map(|agent| match self.agents.get(agent) {
            None => Some("OC003"),
            Some(known) if known.group != request.group => Some("OC005"),
            Some(_) => None,
        })
    }

    fn key_violations(&self, request: &Request) -> Vec<String> {
        let mut found = Vec::new();
        if !self.keys[&request.key].active {
            found.push(format!("key_inactive|{}", request.key));
        }
        let kernels = i64::try_from(request.kernels.len()).expect("few");
        if let Some(max) = self.policy.max_kernels.filter(|max| kernels > *max) {
            let numbers = [0, kernels, max].map(|n| n.to_string());
            found.push(violation("kernels_per_session", &request.key, None, numbers));
        }
        found
    }

    pub(super) fn enqueue(&mut self, n: u8, request: &Request) -> Answer {
        let named: BTreeSet<_> =
            request.kernels.iter().filter_map(|(agent, _)| agent.as_ref()).collect();
        if self.closes_a_circle(n, &request.dependencies)
            || (!request.multi_node && named.len() > 1)
        {
            return Err("OC005");
        }
        if let Some(known) = self.sessions.get(&n) {
            return match (known.status, &known.request) {
                ("PENDING", Some(first)) if first == request => Ok("already_enqueued".to_owned()),
                ("RUNNING", Some(first)) if Self::was_placed_as(known, first, request) => {
                    Ok("already_enqueued".to_owned())
                }
                ("PENDING" | "RUNNING", _) => Err("OC006"),
                _ => Ok(format!("rejected session_ended|{}", uuid(n))),
            };
        }
        if !request.dependencies.iter().all(|d| self.sessions.contains_key(d)) {
            return Err("OC004");
        }
        if let Some(mistake) = self.designated_mistake(request) {
            return Err(mistake);
        }
        let mut found = self.key_violations(request);
        if !request.is_system() {
            let (count, slots) = self.pending_of(&request.key);
            found.extend(one_more(
                "pending_sessions",
                &request.key,
                count,
                self.policy.max_pending,
            ));
            found.extend(over(
                "pending_resource_slots",
                &request.key,
                &request.total(),
                &slots,
                |name| self.policy.max_pending_slots.as_ref()?.get(name).copied(),
            ));
        }
        if !found.is_empty() {
            return Ok(format!("rejected {}", found.join(" ")));
        }
        self.waits_for.extend(request.dependencies.iter().map(|d| (n, *d)));
        self.begin(n, "PENDING", Some("PENDING"), request);
        Ok("enqueued".to_owned())
    }

    fn was_placed_as(known: &Session, first: &Request, request: &Request) -> bool {
        known.stage.is_some()
            && (&first.key, first.session_type, &first.project, &first.group)
                == (&request.key, request.session_type, &request.project, &request.group)
            && known.agents.len() == request.kernels.len()
            && known.agents.iter().zip(&first.kernels).zip(&request.kernels).all(
                |((agent, (_, had)), (wanted, wants))| {
                    had == wants && wanted.as_ref().is_none_or(|wanted| wanted == agent)
                },
            )
    }

    fn begin(
        &mut self,
        n: u8,
        status: &'static str,
        stage: Option<&'static str>,
        request: &Request,
    ) {
        self.positions += 1;
        self.sessions.insert(
            n,
            Session {
                status,
                stage,
                request: Some(request.clone()),
                position: self.positions,
                enqueued_at: self.now,
                tries: 0,
                tried_at: 0,
                agents: Vec::new(),
                charged: Default::default(),
            },
        );
    }

    /// A reservation without the queue, by an id that is free: whether it is admitted.
    pub(super) fn reserve(&mut self, n: u8, request: &Request) -> Option<bool> {
        let (Some(agent), slots) = &request.kernels[0] else { unreachable!("agents are named") };
        let known = self.agents.get(agent)?;
        if self.sessions.contains_key(&n) {
            return None;
        }
        let request = Request { group: known.group.clone(), ..request.clone() };
        let free = self.free(agent);
        let fits = slots.iter().all(|(name, amount)| of(&free, name) >= *amount);
        let mut found = self.key_violations(&request);
        found.extend(self.limit_violations(&request));
        let admitted = found.is_empty() && fits && known.usable;
        if admitted {
            let agents = vec![agent.clone()];
            self.begin(n, "RUNNING", None, &request);
            self.hold(n, agents);
        }
        Some(admitted)
    }

    fn end(&mut self, n: u8) {
        self.waits_for.retain(|(session, _)| *session != n);
        let session = self.sessions.get_mut(&n).expect("it lives");
        session.status = if session.status == "PENDING" { "CANCELLED" } else { "TERMINATED" };
    }

    fn remember(&mut self, n: u8) {
        let nobody = Session {
            status: "CANCELLED",
            stage: None,
            request: None,
            position: 0,
            enqueued_at: 0,
            tries: 0,
            tried_at: 0,
            agents: Vec::new(),
            charged: Default::default(),
        };
        self.sessions.insert(n, nobody);
    }

    pub(super) fn release(&mut self, n: u8) -> &'static str {
        match self.sessions.get(&n).map(Session::has_ended) {
            None => {
                self.remember(n);
                "unknown"
            }
            Some(true) => "already_released",
            Some(false) => {
                self.end(n);
                "released"
            }
        }
    }

    pub(super) fn cancel(&mut self, n: u8) -> &'static str {
        match self.sessions.get(&n).map(|session| session.status) {
            None => {
                self.remember(n);
                "unknown"
            }
            Some("PENDING") => {
                self.end(n);
                "cancelled"
            }
            Some("CANCELLED") => "already_cancelled",
            Some("TERMINATED") => "already_released",
            Some(_) => "placed",
        }
    }

    pub(super) fn terminate(&mut self, n: u8) -> &'static str {
        match self.sessions.get(&n).map(|session| session.status) {
            None => "unknown",
            Some("PENDING") => {
                self.end(n);
                "terminating"
            }
            Some("RUNNING") => {
                self.sessions.get_mut(&n).expect("there").status = "TERMINATING";
                "terminating"
            }
            Some("TERMINATING") => "already_terminating",
            Some(_) => "already_released",
        }
    }

    /// To RUNNING or to ERROR.
    pub(super) fn set_status(&mut self, n: u8, status: &'static str) -> Answer {
        let Some(session) = self.sessions.get_mut(&n) else { return Err("OC004") };
        match session.shown() {
            present if present == status => Ok("unchanged".to_owned()),
            "SCHEDULED" | "RUNNING" => {
                session.stage = Some(status);
                Ok("changed".to_owned())
            }
            _ => Err("OC007"),
        }
    }

    pub(super) fn expire(&mut self, minutes: i64) -> usize {
        let horizon = self.now - minutes;
        let late = |session: &Session| {
            let starts_at = session.request.as_ref().and_then(|request| request.starts_at);
            session.status == "PENDING"
                && session.enqueued_at.max(starts_at.unwrap_or(i64::MIN)) <= horizon
        };
        let late: Vec<u8> =
            self.sessions.iter().filter(|(_, session)| late(session)).map(|(n, _)| *n).collect();
        for n in &late {
            self.end(*n);
        }
        late.len()
    }

    pub(super) fn prune(&mut self) -> usize {
        let ended: Vec<u8> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.has_ended())
            .map(|(n, _)| *n)
            .collect();
        for n in &ended {
            let session = self.sessions.remove(n).expect("there");
            // Who waits for one that failed waits on.
            self.waits_for.retain(|(_, d)| d != n || !session.ended_well());
        }
        ended.len()
    }
}

// The tick.
impl World {
    /// The limits of key, user, project, group and domain.
    fn limit_violations(&self, request: &Request) -> Vec<String> {
        let (key, system) = (&request.key, request.is_system());
        let used = self.count(key, system);
        if system {
            let found = one_more("system_concurrency_limit", key, used, self.policy.max_system);
            return found.into_iter().collect();
        }
        let mut found = Vec::new();
        found.extend(one_more("concurrency_limit", key, used, self.policy.limits.max_sessions));
        found.extend(over("keypair_quota", key, &request.total(), &self.key_slots(key), |name| {
            self.policy.limits.of(name)
        }));
        for (scope, id) in SCOPES.into_iter().zip(self.scopes(request)) {
            let Some(id) = id else { continue };
            let Some(quota) = self.quotas.get(&(scope, id.clone())) else { continue };
            let (used, slots) = self.quota_use(scope, &id);
            let code = format!("{scope}_quota");
            found.extend(one_more(&code, &id, used, quota.max_sessions));
            found.extend(over(&code, &id, &request.total(), &slots, |name| quota.of(name)));
        }
        found
    }

    fn scopes(&self, request: &Request) -> [Option<String>; 4] {
        if request.is_system() {
            return Default::default();
        }
        let user = self.keys[&request.key].user.clone();
        [Some(user), request.project.clone(), Some(request.group.clone()), Some("d0".to_owned())]
    }

    fn hold(&mut self, n: u8, agents: Vec<String>) {
        let request = self.sessions[&n].request.clone().expect("asked for");
        let charged = self.scopes(&request);
        let session = self.sessions.get_mut(&n).expect("there");
        session.agents = agents;
        session.charged = charged;
    }

    /// What an agent has that nobody asked for, then what decides between those that are alike.
    fn rank(&self, selector: &str, agent: &str, free: &Slots, slots: &Slots) -> (usize, Vec<i64>) {
        let available = &self.agents[agent].available;
        let unneeded = available.iter().filter(|(name, n)| **n > 0 && !slots.contains_key(*name));
        let asked = NAMES.iter().filter(|name| slots.contains_key(**name));
        let amounts = asked.map(|name| match selector {
            "concentrated" => of(free, name),
            "dispersed" => -of(free, name),
            _ => -of(available, name),
        });
        (unneeded.count(), amounts.collect())
    }

    /// An agent for each part of a session, or the first part that finds none.
    fn find_agents(
        &self,
        selector: &str,
        request: &Request,
        pointer: &mut Option<String>,
    ) -> Result<Vec<String>, (Option<String>, Slots)> {
        let ids: Vec<&String> = self.usable(&request.group).collect();
        let mut free: BTreeMap<&String, Slots> =
            ids.iter().map(|id| (*id, self.free(id))).collect();
        let mut found = Vec::new();
        let mut moved = pointer.clone();
        for (at, designated, slots) in request.parts() {
            let fits = |id: &&&String| slots.iter().all(|(name, n)| of(&free[**id], name) >= *n);
            let agent = if let Some(agent) = &designated {
                ids.iter().filter(|id| **id == agent).find(fits)
            } else if selector == "roundrobin" {
                let after = |id: &&&String| moved.as_ref().is_none_or(|last| **id > last);
                let next = ids.iter().filter(after).find(fits);
                next.or_else(|| ids.iter().find(fits))
            } else {
                let rank =
                    |id: &&&String| (self.rank(selector, id, &free[**id], &slots), (**id).clone());
                ids.iter().filter(fits).min_by_key(rank)
            };
            let Some(agent) = agent.map(|agent| (*agent).clone()) else {
                return Err((designated, slots));
            };
            add(free.get_mut(&agent).expect("usable"), &slots, -1);
            if designated.is_none() {
                moved = Some(agent.clone());
            }
            found.push((at, agent));
        }
        *pointer = moved;
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, agent)| agent).collect())
    }

    /// The sessions that a tick looks at, before anybody's share counts.
    fn line_up(&self, tick: &Tick, group: &str) -> Vec<u8> {
        let mut line: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.status == "PENDING")
            .filter_map(|(n, session)| Some((*n, session, session.request.as_ref()?)))
            .filter(|(_, _, request)| request.group == group)
            .map(|(n, session, request)| {
                let aside = tick.policy != "lifo" && tick.tries > 0 && session.tries >= tick.tries;
                let position = i64::try_from(session.position).expect("few");
                let position = if tick.policy == "lifo" { -position } else { position };
                let aside = if aside { session.tried_at } else { i64::MIN };
                (-request.priority, 0, aside, position, n)
            })
            .collect();
        line.sort_unstable();
        if tick.policy == "drf" {
            // Keys take turns at being looked at, and are then in the order of coming.
            let mut turns = BTreeMap::new();
            for (priority, turn, .., n) in &mut line {
                let next = turns.entry((*priority, &self.request(*n).key)).or_insert(0);
                *turn = *next;
                *next += 1;
            }
            line.sort_unstable();
            line.truncate(tick.most);
            line.sort_unstable_by_key(|(priority, _, _, position, _)| (*priority, *position));
        }
        line.into_iter().take(tick.most).map(|(.., n)| n).collect()
    }

    fn request(&self, n: u8) -> &Request {
        self.sessions[&n].request.as_ref().expect("it waits")
    }

    /// The largest share of the group's capacity that a key has of any slot, as a fraction.
    fn share(&self, key: &str, group: &str) -> (i64, i64) {
        let mut capacity = Slots::new();
        self.usable(group).for_each(|id| add(&mut capacity, &self.agents[id].available, 1));
        let shares = self.key_slots(key).into_iter().filter_map(|(name, used)| {
            let capacity = of(&capacity, name);
            (capacity > 0).then_some((used, capacity))
        });
        shares.max_by(compare).unwrap_or((0, 1))
    }

    /// Takes the next one out of the line.
    fn next(&self, tick: &Tick, group: &str, line: &mut Vec<u8>) -> Option<u8> {
        let first = *line.first()?;
        let mut at = 0;
        if tick.policy == "drf" {
            let priority = self.request(first).priority;
            let mut keys = BTreeSet::new();
            let heads = line.iter().enumerate().filter(|(_, n)| {
                let request = self.request(**n);
                request.priority == priority && keys.insert(&request.key)
            });
            let shares = heads.map(|(at, n)| (at, self.share(&self.request(*n).key, group)));
            at = shares.min_by(|a, b| compare(&a.1, &b.1).then(a.0.cmp(&b.0)))?.0;
        }
        Some(line.remove(at))
    }

    /// What keeps it waiting whatever room there is.
    fn blocking(&self, n: u8) -> Vec<String> {
        let request = self.request(n);
        let mut found = Vec::new();
        if request.starts_at.is_some_and(|starts_at| starts_at > self.now) {
            found.push(format!("start_time|{}", uuid(n)));
        }
        let unmet = self.waits_for.iter().filter(|(session, d)| {
            *session == n && !self.sessions.get(d).is_some_and(Session::ended_well)
        });
        found.extend(unmet.map(|(_, d)| format!("dependencies|{}", uuid(*d))));
        found.extend(self.key_violations(request));
        found
    }

    pub(super) fn tick(&mut self, tick: &Tick) -> Vec<String> {
        let group = format!("g{}", tick.group);
        let mut line = self.line_up(tick, &group);
        let mut pointer = self.last_agents.get(&group).cloned();
        let mut answers = Vec::new();
        let mut without_room = Vec::new();
        while let Some(n) = self.next(tick, &group, &mut line) {
            let mut found = self.blocking(n);
            found.extend(self.limit_violations(self.request(n)));
            let free_to_go = found.is_empty();
            let mut moved = pointer.clone();
            let agents = self.find_agents(tick.selector, self.request(n), &mut moved);
            match agents {
                Ok(agents) if free_to_go => {
                    pointer = moved;
                    self.waits_for.retain(|(session, _)| *session != n);
                    let kernels = self.request(n).kernels.len();
                    let last = agents.last().expect("a part").clone();
                    let agents: Vec<_> =
                        agents.into_iter().chain(std::iter::repeat(last)).take(kernels).collect();
                    answers.push(format!("{n} placed {}", agents.join(" ")));
                    self.hold(n, agents);
                    let session = self.sessions.get_mut(&n).expect("there");
                    (session.status, session.stage) = ("RUNNING", Some("SCHEDULED"));
                }
                failed => {
                    answers.push(format!("{n} waiting {}", found.join(" ")));
                    if let Err(part) = failed {
                        without_room.push((answers.len() - 1, part));
                        if free_to_go && tick.policy == "fifo" && tick.tries == 0 {
                            self.tried(n);
                            break;
                        }
                    }
                    self.tried(n);
                }
            }
        }
        // How much is free is told as it is when all are placed.
        for (at, (designated, slots)) in without_room {
            let told = self.no_room(&group, designated.as_deref(), &slots);
            answers[at] = format!("{} {told}", answers[at].trim_end());
        }
        if let Some(agent) = pointer.filter(|_| tick.selector == "roundrobin") {
            self.last_agents.insert(group, agent);
        }
        answers
    }

    fn tried(&mut self, n: u8) {
        let now = self.now;
        let session = self.sessions.get_mut(&n).expect("it waits");
        session.tries += 1;
        session.tried_at = now;
    }

    fn no_room(&self, group: &str, designated: Option<&str>, slots: &Slots) -> String {
        let free: Vec<Slots> = self
            .usable(group)
            .filter(|id| designated.is_none_or(|designated| *id == designated))
            .map(|id| self.free(id))
            .collect();
        let most = |name: &&'static str| free.iter().map(|free| of(free, name)).max().unwrap_or(0);
        let most: BTreeMap<_, _> = slots.keys().map(|name| (*name, most(name))).collect();
        let code = if designated.is_some() { "designated_agent" } else { "no_agent_fits" };
        let told = format!("{code}|{}|{}", designated.unwrap_or(group), words(slots));
        if slots.is_empty() { told } else { format!("{told}|{}", words(&most)) }
    }
}

fn compare(a: &(i64, i64), b: &(i64, i64)) -> Ordering {
    (a.0 * b.1).cmp(&(b.0 * a.1))
}
