//! A password comes in by every way that there is, and goes out by none.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use occupancy::Config;
use tokio::process::Command;

use crate::support::{Place, connect, program};

/// What must not be seen anywhere.
const MARKER: &str = "hunter2-marker";

/// A server on a port of 127.0.0.1 that wants the password of `clerk`, and files that hold it.
struct Guarded {
    place: Place,
    port: u16,
}

impl Guarded {
    async fn start() -> (Self, occupancy::server::Embedded) {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("a free port").port();
        let place = Place::new();
        let embedded = place.data_dir().serve(Some(port)).await.unwrap_or_else(|error| {
            panic!("this test starts a server of its own: {error} {:?}", error.detail_text())
        });
        let admin = connect(embedded.url()).await;
        let sql = format!("create role clerk login superuser password '{MARKER}'");
        admin.batch_execute(&sql).await.expect("a superuser may create roles");
        (Self { place, port }, embedded)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.place.path().join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("private");
        path
    }

    fn keywords(&self, password: &str) -> String {
        format!("host=127.0.0.1 port={} user=clerk dbname=occupancy {password}", self.port)
    }

    fn url(&self, password: &str) -> String {
        format!("postgresql://clerk{password}@127.0.0.1:{}/occupancy", self.port)
    }
}

/// Runs `occupancy` as talkative as it can be; the exit code, after a look at all that it says.
async fn told(arguments: &[&str], variables: &[(&str, &str)]) -> Option<i32> {
    let mut command = Command::new(program());
    command.args(arguments).arg("--verbose").env("RUST_LOG", "trace").stdin(Stdio::null());
    command.kill_on_drop(true).env_remove("DATABASE_URL");
    command.envs(variables.iter().copied());
    let output = command.output().await.expect("it runs");
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text);
        assert!(!text.contains(MARKER), "{arguments:?} {variables:?}: {text}");
        // Not in bytes, as a debug print has them, either.
        let bytes = MARKER.as_bytes().iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        assert!(!text.contains(&bytes), "{arguments:?} {variables:?}: {text}");
    }
    output.status.code()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_from_any_source_is_used_and_never_told() {
    let (guarded, embedded) = Guarded::start().await;
    let secret = format!("password={MARKER}");
    let path = |path: &Path| path.display().to_string();
    let url = guarded.url(&format!(":{MARKER}"));
    let keywords = guarded.keywords(&secret);
    let (bare, port) = (guarded.url(""), guarded.port.to_string());
    let file = path(&guarded.write("passwords", &format!("127.0.0.1:{port}:*:clerk:{MARKER}\n")));
    let service = guarded.keywords(&secret).replace(' ', "\n");
    let services = path(&guarded.write("services", &format!("[ours]\n{service}\n")));
    let by_file = guarded.keywords(&format!("passfile={file}"));
    let home = path(&guarded.place.path().join("home"));
    fs::create_dir(&home).expect("created");
    fs::copy(&file, Path::new(&home).join(".pgpass")).expect("copied");
    let sources: [&[(&str, &str)]; 8] = [
        &[("DATABASE_URL", &url)],
        &[("DATABASE_URL", &keywords)],
        &[("DATABASE_URL", &bare), ("PGPASSWORD", MARKER)],
        &[("DATABASE_URL", &bare), ("PGPASSFILE", &file)],
        &[("DATABASE_URL", &bare), ("HOME", &home)],
        &[("DATABASE_URL", &by_file)],
        &[("PGSERVICE", "ours"), ("PGSERVICEFILE", &services)],
        &[
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &port),
            ("PGUSER", "clerk"),
            ("PGDATABASE", "occupancy"),
            ("PGPASSWORD", MARKER),
        ],
    ];
    assert_eq!(told(&["migrate", "--database-url", &url], &[]).await, Some(0));
    for source in sources {
        assert_eq!(told(&["status", "--json"], source).await, Some(0), "{source:?}");
        assert_eq!(told(&["key", "drop", "nobody"], source).await, Some(0), "{source:?}");
        // A connection that fails: encryption that is not there, a lost file, nobody who listens.
        for failing in [
            [("PGSSLMODE", "require"), ("PGAPPNAME", "x")],
            [("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", "/nowhere")],
            [("PGOPTIONS", "-c nonsense=1"), ("PGAPPNAME", "x")],
        ] {
            let source = [source, &failing].concat();
            assert_eq!(told(&["audit", "--json"], &source).await, Some(1), "{source:?}");
        }
    }
    // A wrong password is one of somebody else's, or of another server's.
    for wrong in [format!("{MARKER}-2"), format!("2-{MARKER}")] {
        let url = guarded.url(&format!(":{wrong}"));
        for arguments in [["audit", "--database-url", &url], ["bench", "--database-url", &url]] {
            assert_eq!(told(&arguments, &[]).await, Some(1), "{arguments:?}");
        }
    }
    embedded.terminate().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_string_that_cannot_be_read_is_not_quoted() {
    let place = Place::new();
    let services = place.path().join("services");
    fs::write(
        &services,
        format!("[ours]\nhost=x\n{MARKER}\n[theirs]\n{MARKER}=1\n[more]\nport={MARKER}\n"),
    )
    .expect("written");
    let malformed = [
        format!("postgresql://me:{MARKER}@db:{MARKER}/p"),
        format!("postgresql://me:pass@{MARKER}@db/p?{MARKER}"),
        format!("postgresql://me@db/p?{MARKER}=1"),
        format!("postgresql://me@db/p?sslmode={MARKER}"),
        format!("postgresql://me:{MARKER}%ff@db/p"),
        format!("host=db password={MARKER} and more"),
        format!("host=db password='{MARKER}"),
        format!("host=db {MARKER}=1"),
        format!("host=db port={MARKER}"),
        format!("host=db connect_timeout={MARKER}"),
        format!("{MARKER}:x"),
        "service=ours".to_owned(),
        "service=theirs".to_owned(),
        "service=more".to_owned(),
    ];
    let services = services.to_str().expect("UTF-8");
    for text in &malformed {
        for json in [["status"].as_slice(), &["status", "--json"]] {
            let variables = [("DATABASE_URL", text.as_str()), ("PGSERVICEFILE", services)];
            assert_eq!(told(json, &variables).await, Some(1), "{text}");
        }
    }
    let given: Config =
        format!("host=db password={MARKER} sslmode=verify-full").parse().expect("valid");
    assert!(!format!("{given} {given:?} {given:#?}").contains(MARKER));
}
