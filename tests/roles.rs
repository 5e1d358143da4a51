//! Roles: who may do what, and that nobody can be made to do something else.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::fixture::{Fixture, each, id, kernels, refused, request, rows};

const VIEWER: &[&str] = &[
    "audit",
    "check_session",
    "error_codes",
    "explain_agent",
    "explain_key",
    "explain_session",
    "get_concurrency",
    "get_leases",
    "get_managers",
    "get_queues",
    "get_session",
];
const MANAGER: &[&str] = &[
    "cancel_session",
    "confirm_session",
    "enqueue_session",
    "expire_pending",
    "heartbeat_manager",
    "prune_ended",
    "prune_managers",
    "put_agent",
    "reclaim_expired",
    "register_manager",
    "release_kernel",
    "release_session",
    "release_sessions",
    "reserve_session",
    "reserve_sessions",
    "schedule_sessions",
    "set_session_status",
    "settle_kernel",
    "sweep_agents",
    "terminate_session",
    "wake_schedulers",
];
const ADMIN: &[&str] = &[
    "clear_concurrency",
    "drop_agent",
    "drop_keypair",
    "drop_quota",
    "drop_resource_policy",
    "evacuate_agent",
    "put_keypair",
    "put_quota",
    "put_resource_policy",
    "recalc_agent",
    "recalc_agents_by_session",
    "recalc_agents_fullscan",
    "recalc_concurrency",
    "recalc_concurrency_fullscan",
    "recalc_queue",
    "recalc_queue_fullscan",
    "recalc_quota",
    "recalc_quotas_fullscan",
];
/// A role of every server that has nothing to do with us.
const STRANGER: &str = "pg_signal_backend";

/// Each role with the functions that it may execute.
fn rights() -> [(&'static str, BTreeSet<&'static str>); 4] {
    let of = |lists: &[&[&'static str]]| lists.concat().into_iter().collect();
    [
        (STRANGER, of(&[])),
        ("occupancy_viewer", of(&[VIEWER])),
        ("occupancy_manager", of(&[VIEWER, MANAGER])),
        ("occupancy_admin", of(&[VIEWER, MANAGER, ADMIN])),
    ]
}

/// The SQLSTATE of a statement, or nothing if it succeeds; whatever it did is undone.
async fn attempt(client: &Client, sql: &str) -> Option<String> {
    client.batch_execute("begin").await.expect("begun");
    let result = client.simple_query(sql).await;
    client.batch_execute("rollback").await.expect("undone");
    let error = result.err()?;
    Some(error.code().unwrap_or_else(|| panic!("{sql}: {error:?}")).code().to_owned())
}

/// A call of each function with NULL for every argument, by its name.
async fn calls(f: &Fixture) -> Vec<(String, String)> {
    let calls = f
        .rows(
            "select p.proname as name,
                    format('select occupancy.%I(%s)', p.proname,
                           (select string_agg(
                              format('(select null::%I.%I)', t.typnamespace::regnamespace::text, t.typname),
                              ', ' order by a.position)
                            from unnest(p.proargtypes::oid[]) with ordinality as a (type, position)
                            join pg_type t on t.oid = a.type)) as call
             from pg_proc p where p.pronamespace = 'occupancy'::regnamespace",
            &[],
        )
        .await;
    let names = each(&calls, "name").into_iter().map(str::to_owned);
    names.zip(each(&calls, "call").into_iter().map(str::to_owned)).collect()
}

#[tokio::test]
async fn each_role_executes_what_it_is_for_and_nothing_else() {
    let f = Fixture::new().await;
    let calls = calls(&f).await;
    for (role, allowed) in rights() {
        let client = f.db.connect_as(role).await;
        let mut executable = BTreeSet::new();
        for (name, call) in &calls {
            if attempt(&client, call).await.as_deref() != Some("42501") {
                executable.insert(name.as_str());
            }
        }
        assert_eq!(executable, allowed, "{role}");
    }
}

#[tokio::test]
async fn nobody_reads_or_writes_the_tables_but_through_functions_and_views() {
    let f = Fixture::new().await;
    let relations = f
        .rows(
            "select c.relname as name, c.relkind = 'v' as view, a.attname as column
             from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum = 1
             where c.relnamespace = 'occupancy'::regnamespace and c.relkind in ('r', 'v')",
            &[],
        )
        .await;
    for (role, allowed) in rights() {
        let client = f.db.connect_as(role).await;
        for relation in &relations {
            let text = |field: &str| relation[field].as_str().expect("a name");
            let (name, column) = (text("name"), text("column"));
            // The runner's own tables tell a client which schema it has met.
            let shown = relation["view"] == true
                || name == "session_concurrency"
                || name.starts_with("schema_");
            let read = attempt(&client, &format!("select from occupancy.{name}")).await;
            let readable = shown && !allowed.is_empty();
            assert_eq!(read.is_none(), readable, "{role} reads {name}: {read:?}");
            for write in [
                format!("insert into occupancy.{name} default values"),
                format!("update occupancy.{name} set {column} = null"),
                format!("delete from occupancy.{name}"),
                format!("truncate occupancy.{name}"),
                format!("lock table occupancy.{name} in share mode"),
            ] {
                let code = attempt(&client, &write).await;
                let refused = match code.as_deref() {
                    // Some views take no writing from anybody.
                    Some("42809" | "55000") => relation["view"] == true,
                    code => code == Some("42501"),
                };
                assert!(refused, "{role}: {write}: {code:?}");
            }
        }
    }
}

#[tokio::test]
async fn nobody_creates_anything_in_the_schema_or_becomes_the_owner() {
    let f = Fixture::new().await;
    for (role, _) in rights() {
        let client = f.db.connect_as(role).await;
        for attempted in [
            "create table occupancy.planted (n int)",
            "create function occupancy.clock() returns timestamptz language sql return now()",
            "create or replace function occupancy.clock() returns timestamptz language sql return now()",
            "create view occupancy.planted as select 1",
            "drop function occupancy.audit()",
            "grant execute on function occupancy.clock() to public",
            "set role occupancy_owner",
        ] {
            let code = attempt(&client, attempted).await;
            assert_eq!(code.as_deref(), Some("42501"), "{role}: {attempted}");
        }
    }
}

#[tokio::test]
async fn the_three_roles_do_their_work_together() {
    let f = Fixture::new().await;
    let [admin, manager, viewer] = ["admin", "manager", "viewer"]
        .map(|role| async { f.db.connect_as(&format!("occupancy_{}", role.to_owned())).await });
    let (admin, manager, viewer) = (admin.await, manager.await, viewer.await);
    let run = async |client: &Client, sql: &str| {
        rows(client, sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    };
    run(&admin, "select * from occupancy.put_resource_policy('p', 1)").await;
    run(&admin, "select * from occupancy.put_keypair('k', 'u', 'p')").await;
    run(&admin, "select * from occupancy.put_quota('user', 'u', 1)").await;
    run(&manager, "select * from occupancy.put_agent('a', '{\"cpu\": 1}')").await;
    let on_a = kernels(&[("a", json!({"cpu": 1}))]);
    let session = format!("'{}', 'k', '{on_a}'", id(1));
    let checked = run(&viewer, &format!("select * from occupancy.check_session({session})")).await;
    assert!(checked.iter().all(|row| row["passed"] == true));
    let reserved =
        run(&manager, &format!("select * from occupancy.reserve_session({session})")).await;
    assert_eq!(each(&reserved, "outcome"), ["admitted"]);
    for view in
        ["sessions", "kernels", "concurrency", "agent_occupancy", "quotas", "session_concurrency"]
    {
        assert!(
            !run(&viewer, &format!("select * from occupancy.{view}")).await.is_empty(),
            "{view}"
        );
    }
    assert_eq!(run(&viewer, "select * from occupancy.audit()").await, Vec::<Value>::new());
    assert_eq!(
        run(&admin, "select * from occupancy.recalc_agents_fullscan()").await,
        Vec::<Value>::new()
    );
    let released =
        run(&admin, &format!("select * from occupancy.release_session('{}')", id(1))).await;
    assert_eq!(each(&released, "outcome"), ["released"]);
}

/// Objects with the names that our functions use, which must not be the ones that are used.
const PLANTED: &str = "
    create function public.trap() returns int language plpgsql as $$ begin raise 'planted'; end $$;
    create function public.check_name(text, text) returns boolean language sql return public.trap() > 0;
    create function public.clock() returns timestamptz language sql return now() + public.trap() * interval '1 s';
    create function public.lower(text) returns text language sql return public.trap()::text;
    create function public.length(text) returns int language sql return public.trap();
    create function public.jsonb_typeof(jsonb) returns text language sql return public.trap()::text;
    create function public.same(text, text) returns boolean language sql return public.trap() > 0;
    create operator public.= (function = public.same, leftarg = text, rightarg = text);
    grant execute on all functions in schema public to public;
    grant create on schema public to public;";
const PLANTED_BY_THE_CALLER: &str = "
    create temporary table session (like occupancy.session_concurrency);
    create temporary table keypair (access_key text, compute_used bigint);
    create temporary table agent (agent_id text);
    create temporary table quota (scope text);
    create temporary table kernel (kernel_id uuid);
    create temporary table resource_policy (name text);
    create temporary table session_concurrency (access_key text, session_id uuid);
    create temporary table limits_version (version bigint);
    create function pg_temp.parse_slots(jsonb, text, boolean) returns jsonb language sql return to_jsonb(public.trap());
    create function pg_temp.slots_charged(jsonb, jsonb, jsonb, text) returns jsonb language sql return to_jsonb(public.trap());
    create function pg_temp.now() returns timestamptz language sql return '-infinity'::timestamptz;
    set search_path = pg_temp, public, pg_catalog, occupancy;";

#[tokio::test]
async fn what_a_caller_plants_is_never_called() {
    let f = Fixture::new().await;
    f.run(PLANTED).await;
    let whole = request(1, "AK", &[("i-01", json!({"cpu": 8}))]);
    let client = f.db.connect_as("occupancy_admin").await;
    client.batch_execute(PLANTED_BY_THE_CALLER).await.expect("planted");
    // The traps do work.
    assert_eq!(refused(&client, "select length('x')", &[]).await, "P0001");
    let on = whole["kernels"].to_string();
    let calls = [
        "put_resource_policy('open', 1, total_resource_slots => '{\"cpu\": \"8\"}')".to_owned(),
        "put_keypair('AK', 'u1', 'open')".to_owned(),
        "put_quota('user', 'u1', 1)".to_owned(),
        "put_agent('i-01')".to_owned(),
        format!("check_session('{}', 'AK', '{on}')", id(1)),
        format!("reserve_session('{}', 'AK', '{on}')", id(1)),
        format!("reserve_sessions('[{whole}]')"),
        format!("get_session('{}')", id(1)),
        "get_concurrency('AK')".to_owned(),
        "recalc_concurrency_fullscan()".to_owned(),
        "recalc_agents_fullscan()".to_owned(),
        "recalc_quotas_fullscan()".to_owned(),
        "audit()".to_owned(),
        format!("terminate_session('{}')", id(1)),
        format!("release_sessions(array['{}', '{}']::uuid[])", id(1), id(2)),
        "clear_concurrency('AK')".to_owned(),
        "prune_ended('0')".to_owned(),
    ];
    for call in calls {
        let sql = format!("select * from occupancy.{call}");
        client.query(&sql, &[]).await.unwrap_or_else(|error| panic!("{call}: {error:?}"));
    }
    for table in ["session", "keypair", "agent", "quota", "kernel", "session_concurrency"] {
        let left = client.query(&format!("select from pg_temp.{table}"), &[]).await;
        assert!(left.expect("readable").is_empty(), "{table}");
    }
    assert_eq!(
        f.reserve(&request(3, "AK", &[("i-01", json!({"cpu": 8}))])).await["outcome"],
        "admitted"
    );
    f.assert_sound().await;
}
