//! The servers: a primary, a synchronous standby, and the lines that lead to them.
//!
//! Two places, `a` and `b`, take turns. Each has a directory for its data, on a small file system of
//! its own where that can be mounted, one for its socket, and two sockets of proxies: managers
//! connect through one, the standby through the other.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::disk::Disk;
use super::proxy::{Line, Proxy};
use super::wait::until;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::server::node::{Node, Yard};

/// How long the server may take for what a fault makes necessary.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections that managers, and whoever exhausts them, share.
pub(super) const MAX_CONNECTIONS: usize = 64;

const SETTINGS: [&str; 12] = [
    "max_connections=64",
    "superuser_reserved_connections=12",
    "shared_buffers=32MB",
    "max_wal_size=128MB",
    "min_wal_size=32MB",
    "wal_keep_size=64MB",
    "synchronous_commit=on",
    "wal_retrieve_retry_interval=100ms",
    "hot_standby=on",
    // A standby that is silent is noticed by those who wait for it, not by the server.
    "wal_sender_timeout=0",
    "wal_receiver_timeout=0",
    "log_checkpoints=off",
];

pub(super) struct Place {
    name: char,
    pub(super) disk: Disk,
    pub(super) node: Node,
    /// Managers connect through it.
    pub(super) front: Proxy,
    /// The other server follows this one through it.
    pub(super) back: Proxy,
}

pub(super) struct Cluster {
    // In the order in which they have to go.
    pub(super) primary: Place,
    standby: Option<Place>,
    yard: Yard,
    managers: String,
}

impl Cluster {
    /// Starts a primary without a standby.
    pub(super) async fn start(yard: Yard) -> Result<Self> {
        let [one, other] = ['a', 'b'];
        let hosts = [one, other].map(|name| yard.path().join(format!("{name}-front")));
        let managers = format!(
            "host={},{} user={MANAGER} dbname=occupancy target_session_attrs=read-write",
            hosts[0].display(),
            hosts[1].display()
        );
        let disk = Disk::mount(&yard.directory(&format!("{one}-root"))?);
        let node = yard.create(&root(one), &socket(one), &SETTINGS).await?;
        let mut primary = Place::new(&yard, one, disk, node)?;
        primary.node.start().await?;
        Ok(Self { primary, standby: None, yard, managers })
    }

    pub(super) fn describe(&self) -> String {
        self.yard.describe()
    }

    pub(super) fn yard(&self) -> &Yard {
        &self.yard
    }

    /// How managers connect.
    pub(super) fn for_managers(&self) -> &str {
        &self.managers
    }

    /// The primary alone, past its proxy, as a manager.
    pub(super) fn primary_for_managers(&self) -> Result<Config> {
        let socket = self.primary.node.socket().display();
        format!("host={socket} user={MANAGER} dbname=occupancy").parse()
    }

    /// Connects to whichever server is the primary, past the proxies, as the superuser.
    pub(super) fn direct(&self) -> Result<Config> {
        let sockets = ['a', 'b'].map(|name| self.yard.path().join(socket(name)));
        let [a, b] = sockets.map(|path| path.display().to_string());
        let text =
            format!("host={a},{b} user=occupancy dbname=occupancy target_session_attrs=read-write");
        let config = text.parse::<Config>()?.with_connect_timeout(Duration::from_secs(5));
        Ok(config.without_lease())
    }

    /// Connects to the primary as the superuser.
    pub(super) async fn connect(&self) -> Result<Client> {
        self.primary.connect().await
    }

    /// Makes a standby, and from now on a commit waits for it.
    pub(super) async fn add_standby(&mut self) -> Result<()> {
        let name = if self.primary.name == 'a' { 'b' } else { 'a' };
        let host = self.primary.back.directory().display();
        let conninfo = format!("host={host} user=occupancy dbname=occupancy");
        let disk = Disk::mount(&self.yard.directory(&root(name))?);
        let node = self.yard.copy(&conninfo, &root(name), &socket(name), &SETTINGS).await?;
        let mut standby = Place::new(&self.yard, name, disk, node)?;
        standby.node.start().await?;
        self.standby = Some(standby);
        let primary = self.connect().await?;
        let streams = "select exists (select from pg_stat_replication where state = 'streaming')";
        until("the standby follows", PATIENCE, async || holds(&primary, streams).await).await?;
        primary.batch_execute("alter system set synchronous_standby_names = '*'").await?;
        primary.batch_execute("select pg_reload_conf()").await?;
        self.synchronous(&primary).await
    }

    /// Waits until the standby has all that was answered before now. What is answered later waits for
    /// it anyway; to have the two equal at one moment would be luck, the less the slower the disks.
    async fn synchronous(&self, primary: &Client) -> Result<()> {
        let waited_for =
            "select exists (select from pg_stat_replication where sync_state = 'sync')";
        let what = "the standby is synchronous";
        until(what, PATIENCE, async || holds(primary, waited_for).await).await?;
        let answered = "select pg_current_wal_flush_lsn()::text";
        let answered: String = primary.query_one(answered, &[]).await?.try_get(0)?;
        let there = format!(
            "select exists (
               select from pg_stat_replication
               where sync_state = 'sync' and flush_lsn >= '{answered}')"
        );
        let what = "the standby has all that was answered";
        until(what, PATIENCE, async || holds(primary, &there).await).await
    }

    /// The end of what the servers have logged, for whoever must explain why something did not work.
    pub(super) fn last_words(&self) -> String {
        const LINES: usize = 20;
        let places = std::iter::once(&self.primary).chain(&self.standby);
        let words = places.map(|place| {
            let log = place.node.log();
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(LINES)..].join("\n");
            format!("the end of the log of server {}:\n{end}", place.name)
        });
        words.collect::<Vec<_>>().join("\n")
    }

    /// Ends the primary as a crash would and starts it again.
    pub(super) async fn restart(&mut self) -> Result<()> {
        self.primary.node.stop_at_once().await?;
        self.primary.node.start().await.map(drop)
    }

    /// Waits until the primary answers, and starts it again should it have ended over its troubles.
    pub(super) async fn revive(&mut self) -> Result<()> {
        until("the server answers", PATIENCE, async || {
            if self.primary.node.has_ended() {
                self.restart().await?;
            }
            Ok(self.connect().await.is_ok())
        })
        .await
    }

    /// Puts the standby in the primary's place, as of now without a standby of its own.
    pub(super) async fn fail_over(&mut self, split: Option<Duration>) -> Result<()> {
        let client = self.connect().await?;
        self.synchronous(&client).await?;
        let Some(standby) = self.standby.take() else {
            return Err(Error::new(ErrorKind::Server, "there is no standby"));
        };
        if let Some(duration) = split {
            self.split(&client, duration).await;
        }
        drop(client);
        let old = std::mem::replace(&mut self.primary, standby);
        old.close().await?;
        let client = self.primary.reach().await?;
        // It was copied with the primary's settings, but nobody follows it yet.
        client.batch_execute("alter system reset synchronous_standby_names").await?;
        client.batch_execute("select pg_reload_conf()").await?;
        client.batch_execute("select pg_promote()").await?;
        let writes = "select not pg_is_in_recovery()";
        until("the standby is promoted", PATIENCE, async || holds(&client, writes).await).await
    }

    /// Cuts the primary off from its standby, and has somebody end the backends that wait for it:
    /// what these have committed is now visible to others, and nowhere else.
    async fn split(&self, primary: &Client, duration: Duration) {
        const CANCEL_WAITS: &str = "
            select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'";
        self.primary.back.set(Line::Silent);
        tokio::time::sleep(duration).await;
        // It may take with it who asks.
        let _ = primary.batch_execute(CANCEL_WAITS).await;
        tokio::time::sleep(duration).await;
    }

    /// Stops the servers and removes everything.
    pub(super) async fn close(self) -> Result<()> {
        let standby = match self.standby {
            Some(standby) => standby.close().await,
            None => Ok(()),
        };
        let primary = self.primary.close().await;
        standby.and(primary).and(self.yard.close())
    }
}

/// The role that managers have: it may reserve, and is no superuser.
const MANAGER: &str = "torture";

/// Creates the managers' role.
pub(super) async fn create_role(client: &Client) -> Result<()> {
    let create = format!("create role {MANAGER} login in role occupancy_manager");
    Ok(client.batch_execute(&create).await?)
}

impl Place {
    fn new(yard: &Yard, name: char, disk: Disk, node: Node) -> Result<Self> {
        let front = Proxy::open(yard.directory(&format!("{name}-front"))?, node.socket())?;
        let back = Proxy::open(yard.directory(&format!("{name}-back"))?, node.socket())?;
        Ok(Self { name, disk, node, front, back })
    }

    /// Connects as soon as the server answers, which on a busy machine may take a while.
    async fn reach(&mut self) -> Result<Client> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.connect().await {
                Err(error) if self.node.has_ended() || Instant::now() > deadline => {
                    return Err(error);
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                connected => return connected,
            }
        }
    }

    async fn connect(&self) -> Result<Client> {
        self.node.url()?.parse::<Config>()?.connect().await
    }

    /// Ends the server and removes its data.
    async fn close(mut self) -> Result<()> {
        let stopped = self.node.stop_at_once().await;
        drop((self.front, self.back));
        stopped.and(self.disk.remove())
    }
}

fn root(name: char) -> String {
    format!("{name}-root")
}

fn socket(name: char) -> String {
    format!("{name}-server")
}

/// The answer to a question.
pub(super) async fn holds(client: &Client, question: &str) -> Result<bool> {
    Ok(client.query_one(question, &[]).await?.try_get(0)?)
}
