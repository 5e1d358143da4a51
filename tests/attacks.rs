//! Callers who mean harm: with every right that they have, with names, objects and sizes that
//! nobody sensible would choose.

use serde_json::{Value, json};

use crate::support::fixture::{Fixture, each, id, refused, request, rows, with};

/// Every privilege on every relation, column, function and type of the schema, by role.
const PRIVILEGES: &str = "
    select o.role || ' may ' || o.privilege || ' ' || o.object as name
    from (
      select r.rolname as role, p.privilege, c.relname as object,
             has_table_privilege(r.oid, c.oid, p.privilege) as held
      from pg_class c,
           unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger'])
             as p (privilege), pg_roles r
      where c.relnamespace = 'occupancy'::regnamespace and c.relkind in ('r', 'v', 'm', 'p')
      union all
      select r.rolname, p.privilege || ' a column of', c.relname,
             has_any_column_privilege(r.oid, c.oid, p.privilege)
      from pg_class c, unnest(array['select', 'insert', 'update', 'references']) as p (privilege),
           pg_roles r
      where c.relnamespace = 'occupancy'::regnamespace and c.relkind in ('r', 'v', 'm', 'p')
      union all
      select r.rolname, p.privilege, c.relname, has_sequence_privilege(r.oid, c.oid, p.privilege)
      from pg_class c, unnest(array['usage', 'select', 'update']) as p (privilege), pg_roles r
      where c.relnamespace = 'occupancy'::regnamespace and c.relkind = 'S'
      union all
      select r.rolname, 'create in', n.nspname, has_schema_privilege(r.oid, n.oid, 'create')
      from pg_namespace n, pg_roles r where n.nspname = 'occupancy'
      union all
      select r.rolname, 'use', n.nspname, has_schema_privilege(r.oid, n.oid, 'usage')
      from pg_namespace n, pg_roles r where n.nspname = 'occupancy'
      union all
      select r.rolname, 'execute', p.proname, has_function_privilege(r.oid, p.oid, 'execute')
      from pg_proc p, pg_roles r where p.pronamespace = 'occupancy'::regnamespace
    ) as o
    where o.held and o.role = $1";

#[tokio::test]
async fn who_has_no_role_of_ours_has_no_privilege_of_any_kind() {
    let f = Fixture::new().await;
    let held = f.rows(PRIVILEGES, &[&"pg_signal_backend"]).await;
    assert_eq!(each(&held, "name"), [] as [&str; 0]);
    // What is created later is not open to everybody either.
    let defaults =
        "select d.defaclobjtype as name from pg_default_acl d, aclexplode(d.defaclacl) as a
                    where d.defaclrole = 'occupancy_owner'::regrole and a.grantee <> d.defaclrole";
    assert_eq!(f.rows(defaults, &[]).await, Vec::<Value>::new());
}

#[tokio::test]
async fn nobody_but_the_owner_has_a_privilege_that_writes() {
    let f = Fixture::new().await;
    for role in ["occupancy_viewer", "occupancy_manager", "occupancy_admin"] {
        let held = f.rows(PRIVILEGES, &[&role]).await;
        assert!(!held.is_empty(), "{role}");
        let writing: Vec<_> = each(&held, "name")
            .into_iter()
            .filter(|held| {
                let privilege = held.split(" may ").nth(1).expect("a privilege");
                !["select ", "execute ", "use "].iter().any(|p| privilege.starts_with(p))
            })
            .collect();
        assert_eq!(writing, [] as [&str; 0], "{role}");
    }
}

#[tokio::test]
async fn a_viewer_changes_nothing_by_whatever_he_may_call() {
    let f = Fixture::new().await;
    f.reserve(&request(1, "AK", &[("i-01", json!({"cpu": 1}))])).await;
    let viewer = f.db.connect_as("occupancy_viewer").await;
    let allowed = rows(
        &viewer,
        "select p.proname as name, p.provolatile = 'v' as writes from pg_proc p
         where p.pronamespace = 'occupancy'::regnamespace
           and has_function_privilege('occupancy_viewer', p.oid, 'execute')",
        &[],
    );
    for function in allowed.await.expect("listed") {
        assert_eq!(function["writes"], false, "{function}");
    }
    for call in ["reset_val from pg_settings where name = 'search_path'", "lo_creat(-1)"] {
        drop(viewer.query(&format!("select {call}"), &[]).await);
    }
    f.unchanged(async {
        for sql in [
            "select occupancy.release_session('00000000-0000-0000-0000-000000000001')",
            "with gone as (delete from occupancy.session returning 1) select from gone",
            "insert into occupancy.session_concurrency select * from occupancy.session_concurrency",
            "update occupancy.sessions set access_key = 'BK'",
            "merge into occupancy.agent a using occupancy.agent b on a.agent_id = b.agent_id
               when matched then delete",
            "copy occupancy.session to stdout",
            "select * from occupancy.session for update",
            "create table public.copy_of_it as table occupancy.session",
            "alter table occupancy.session disable trigger all",
            "create rule harm as on select to occupancy.sessions do instead select 1",
            "create trigger harm before insert on occupancy.session
               for each row execute function suppress_redundant_updates_trigger()",
            "alter function occupancy.audit() reset search_path",
            "alter default privileges for role occupancy_owner grant all on tables to public",
            "grant occupancy_owner to occupancy_viewer",
            "set session_replication_role = replica",
            "comment on table occupancy.session is 'mine'",
            "reassign owned by occupancy_owner to current_user",
            "drop schema occupancy cascade",
        ] {
            let code = refused(&viewer, sql, &[]).await;
            assert!(["42501", "55000", "0A000"].contains(&code.as_str()), "{code}: {sql}");
        }
    })
    .await;
}

/// Shadows everything that our functions name: their own helpers, and every function and operator
/// of the server for the types that they use, by the catalog and not by a list.
const SHADOWS: &str = "
    create function public.trap() returns void language plpgsql
      as $$ begin raise 'a planted object was used'; end $$;
    do $$
    declare
      planted record;
      number_planted int := 0;
    begin
      for planted in
        select p.proname, pg_get_function_identity_arguments(p.oid) as arguments,
               p.proretset, p.prorettype::regtype as type
        from pg_proc p
        where p.prokind = 'f' and p.provariadic = 0
          and (p.pronamespace = 'occupancy'::regnamespace
               or p.pronamespace = 'pg_catalog'::regnamespace and exists (
                 select from pg_proc ours
                 where ours.pronamespace = 'occupancy'::regnamespace
                   and strpos(coalesce(pg_get_function_sqlbody(ours.oid), ours.prosrc), p.proname || '(') > 0))
          and not exists (
            select from unnest(p.proargtypes::oid[] || p.prorettype) as a (type)
            join pg_type t on t.oid = a.type where t.typtype = 'p')
      loop
        execute format(
          'create function public.%I(%s) returns %s %s language sql
             as ''select public.trap(); select null::%s''',
          planted.proname, planted.arguments, case when planted.proretset then 'setof' end,
          planted.type, planted.type);
        number_planted := number_planted + 1;
      end loop;
      for planted in
        select o.oprname, o.oprleft::regtype as l, o.oprright::regtype as r, o.oprresult::regtype as result
        from pg_operator o
        where o.oprnamespace = 'pg_catalog'::regnamespace and o.oprkind = 'b'
          and array[o.oprleft, o.oprright]::regtype[] <@ array[
            'text', 'uuid', 'jsonb', 'bigint', 'integer', 'numeric', 'boolean', 'uuid[]', 'text[]',
            'timestamptz', 'interval', 'anyarray']::regtype[]
          and not 'anyarray'::regtype = any (array[o.oprleft, o.oprright, o.oprresult])
      loop
        number_planted := number_planted + 1;
        execute format(
          'create function public.operator_%s(%s, %s) returns %s language sql
             as ''select public.trap(); select null::%s''',
          number_planted, planted.l, planted.r, planted.result, planted.result);
        execute format('create operator public.%s (function = public.operator_%s, leftarg = %s, rightarg = %s)',
                       planted.oprname, number_planted, planted.l, planted.r);
      end loop;
      if number_planted < 200 then raise 'only % objects were planted', number_planted; end if;
      -- Nobody but the traps themselves may need what they shadow.
      for planted in
        select c.relname from pg_class c
        where c.relnamespace = 'occupancy'::regnamespace and c.relkind in ('r', 'v')
      loop
        execute format('create table public.%I (like occupancy.%I)', planted.relname, planted.relname);
      end loop;
      for planted in
        select t.typname from pg_type t left join pg_class c on c.oid = t.typrelid
        where t.typnamespace = 'occupancy'::regnamespace and c.relkind = 'c'
      loop
        execute format('create type public.%I as (planted text)', planted.typname);
      end loop;
    end $$;
    grant usage, create on schema public to public;
    grant all on all tables in schema public to public;
    grant execute on all functions in schema public to public;";

/// The same tables and types once more, where they come first of all.
const SHADOWS_OF_THE_CALLER: &str = "
    do $$
    declare
      planted record;
    begin
      for planted in
        select c.relname from pg_catalog.pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
      loop
        execute format('create temporary table %I (like public.%I)', planted.relname, planted.relname);
      end loop;
    end $$;
    create domain pg_temp.jsonb as text;
    create domain pg_temp.uuid as text;
    create domain pg_temp.numeric as text;
    create function pg_temp.now() returns timestamptz language sql return '-infinity'::timestamptz;
    set search_path = pg_temp, public, pg_catalog, occupancy;";

#[tokio::test]
async fn no_function_uses_anything_that_is_planted_in_its_callers_path() {
    let f = Fixture::new().await;
    let known = f
        .rows(
            "select p.proname as name from pg_catalog.pg_proc p
             where p.pronamespace = 'occupancy'::regnamespace
               and has_function_privilege('occupancy_admin', p.oid, 'execute')",
            &[],
        )
        .await;
    f.run(SHADOWS).await;
    let client = f.db.connect_as("occupancy_admin").await;
    client.batch_execute(SHADOWS_OF_THE_CALLER).await.expect("planted");
    // The traps do work.
    assert_eq!(refused(&client, "select lower('X'::text)", &[]).await, "P0001");
    assert_eq!(refused(&client, "select 'x'::text = 'y'::text", &[]).await, "P0001");
    let reservation = format!(
        "pg_catalog.json_build_array(pg_catalog.json_build_object(
           'agent', 'i-01', 'kernel_id', '{}', 'slots', '{{\"cpu\": \"1k\"}}'::pg_catalog.json))::pg_catalog.jsonb",
        id(7)
    );
    let calls = [
        "put_resource_policy('open', 5, 5, '{\"cpu\": \"8k\"}', 'UNLIMITED')".to_owned(),
        "put_keypair('K', 'u', 'open', true, 'd')".to_owned(),
        "put_quota('user', 'u', 9, '{\"cpu\": \"Infinity\"}')".to_owned(),
        "put_agent('i-01', '{\"cpu\": \"8k\"}')".to_owned(),
        "register_manager('m', '1 minute')".to_owned(),
        "heartbeat_manager('m', 1)".to_owned(),
        format!("check_session('{}', 'K', {reservation}, 'batch', 'p')", id(1)),
        format!("reserve_session('{}', 'K', {reservation}, 'batch', 'p')", id(1)),
        format!("confirm_session('{}', 'm', 1)", id(1)),
        format!("get_session('{}')", id(1)),
        "get_concurrency('K')".to_owned(),
        format!("settle_kernel('{}', '{{\"cpu\": \"0.5\"}}')", id(7)),
        "recalc_concurrency('K')".to_owned(),
        "recalc_concurrency_fullscan()".to_owned(),
        "recalc_agent('i-01')".to_owned(),
        format!("recalc_agents_by_session('{}')", id(1)),
        "recalc_agents_fullscan()".to_owned(),
        "recalc_quota('user', 'u')".to_owned(),
        "recalc_quotas_fullscan()".to_owned(),
        "audit()".to_owned(),
        "reclaim_expired(10)".to_owned(),
        "sweep_agents('1 hour')".to_owned(),
        format!("terminate_session('{}')", id(1)),
        format!("release_kernel('{}')", id(7)),
        format!("release_session('{}')", id(1)),
        format!("release_sessions(array['{}', '{}']::pg_catalog.uuid[])", id(1), id(2)),
        "evacuate_agent('i-01')".to_owned(),
        "clear_concurrency('K')".to_owned(),
        "prune_ended('0')".to_owned(),
        "prune_managers('0')".to_owned(),
        "drop_quota('user', 'u')".to_owned(),
        "drop_keypair('K')".to_owned(),
        "drop_agent('i-01')".to_owned(),
        "drop_resource_policy('none')".to_owned(),
        "error_codes()".to_owned(),
        "reserve_sessions('[]')".to_owned(),
    ];
    for function in each(&known, "name") {
        let called: Vec<_> =
            calls.iter().filter(|call| call.split('(').next() == Some(function)).collect();
        // A function that no call knows: with nothing, which goes as far as it can.
        let unknown = format!("{function}()");
        for call in if called.is_empty() { vec![&unknown] } else { called } {
            if let Err(error) = client.query(&format!("select from occupancy.{call}"), &[]).await {
                let error = error.as_db_error().unwrap_or_else(|| panic!("{call}: {error:?}"));
                let code = error.code().code();
                // Nothing is there to be confirmed or mended twice; no signature without arguments.
                assert!(code.starts_with("OC") || code == "42883", "{call}: {error:?}");
            }
        }
    }
    for view in ["sessions", "kernels", "concurrency", "agent_occupancy", "quotas"] {
        let sql = format!("select from occupancy.{view}");
        client.query(&sql, &[]).await.unwrap_or_else(|error| panic!("{view}: {error:?}"));
    }
    let left = "select from pg_temp.session union all select from pg_temp.agent";
    assert!(client.query(left, &[]).await.expect("readable").is_empty());
}

/// Names that would do harm if they were anything but data.
fn hostile_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "'; drop schema occupancy cascade; --",
        "\"; select pg_sleep(60); --",
        "$$; raise 'x'; $$",
        "\\'; \\\\",
        "{a,\"b\",NULL}",
        "(1,\"x\",,)",
        "%s %I %L %1$s %%",
        "line\nbreak\r\n\ttab\u{b}\u{1}\u{7f}",
        "NULL",
        " ",
        "\u{202e}right to left\u{2066}",
        "e\u{301}\u{fe0f}\u{200d}",
        "../../etc/passwd",
        "occupancy.session",
        "-- comment",
        "/* comment",
        "\u{ffff}\u{10ffff}",
    ]
    .map(str::to_owned)
    .into();
    names.push("😀".repeat(256));
    names.push("'".repeat(256));
    names
}

#[tokio::test]
async fn hostile_names_are_data() {
    let f = Fixture::new().await;
    for (n, name) in (100..).zip(hostile_names()) {
        let admin = f.db.connect_as("occupancy_admin").await;
        for sql in [
            "select occupancy.put_resource_policy($1, 1)",
            "select occupancy.put_keypair($1, $1, $1, true, $1)",
            "select occupancy.put_agent($1, '{\"cpu\": 1}', $1)",
            "select occupancy.put_quota('user', $1, 1)",
            "select occupancy.put_quota('project', $1, 1)",
            "select occupancy.put_quota('domain', $1, 1)",
            "select occupancy.put_quota('resource_group', $1, 1)",
        ] {
            rows(&admin, sql, &[&name])
                .await
                .unwrap_or_else(|error| panic!("{sql} {name}: {error:?}"));
        }
        let asked =
            with(request(n, &name, &[(&name, json!({"cpu": 1}))]), json!({"project": name}));
        assert!(f.check(&asked).await.iter().all(|row| row["passed"] == true), "{name}");
        assert_eq!(f.reserve(&asked).await["outcome"], "admitted", "{name}");
        let full = f.reserve_all(&[with(asked.clone(), json!({"session_id": id(n + 1000)}))]).await;
        assert_eq!(full[0]["outcome"], "rejected", "{name}");
        assert_eq!(f.occupied(&name).await, json!({"cpu": "1"}));
        assert_eq!(f.key(&name).await.0, 1);
        let session = f.row("select * from occupancy.get_session($1)", &[&id(n)]).await;
        assert_eq!((&session["access_key"], &session["project"]), (&json!(name), &json!(name)));
        f.assert_sound().await;
        let cleared = f.row("select occupancy.clear_concurrency($1) as n", &[&name]).await;
        assert_eq!(cleared["n"], 1, "{name}");
    }
    let tables = f.row("select count(*) as n from pg_tables where schemaname = 'occupancy'", &[]);
    assert!(tables.await["n"].as_i64() > Some(5));
    // The server's own refusals: text holds every character but this one.
    f.unchanged(async {
        let admin = f.db.connect_as("occupancy_admin").await;
        let nul = "a\0b".to_owned();
        assert_eq!(
            refused(&admin, "select occupancy.put_resource_policy($1)", &[&nul]).await,
            "22021"
        );
        let escaped = r#"[{"session_id": "a\u0000b"}]"#;
        let sql = "select occupancy.reserve_sessions($1::text::jsonb)";
        assert_eq!(refused(&admin, sql, &[&escaped]).await, "22P05");
        let long = "ü".repeat(257);
        assert_eq!(
            refused(&admin, "select occupancy.put_resource_policy($1)", &[&long]).await,
            "OC005"
        );
    })
    .await;
}

/// Calls each function with something enormous in one argument and something plausible in all
/// others; how it refused, and how much it said.
const ENORMOUS: &str = "
    create function public.with_enormous(enormous text)
    returns table (call text, code text, said bigint) language plpgsql as $$
    declare
      function record;
      arguments text;
      detail text;
      hint text;
      message text;
    begin
      for function in
        select p.proname, p.proargtypes::oid[]::regtype[] as types, n
        from pg_proc p, generate_series(0, p.pronargs - 1) as n
        where p.pronamespace = 'occupancy'::regnamespace
          and has_function_privilege('occupancy_admin', p.oid, 'execute')
          and p.proargtypes[n]::regtype in ('text', 'jsonb')
      loop
        select string_agg(case
                 when i = function.n and function.types[i] = 'jsonb'::regtype then 'to_jsonb($1)'
                 when i = function.n then '$1'
                 when function.types[i] = 'text'::regtype then '''open'''
                 when function.types[i] = 'jsonb'::regtype then '''{}'''
                 when function.types[i] = 'uuid'::regtype then 'gen_random_uuid()'
                 when function.types[i] = 'interval'::regtype then '''1 hour'''
                 else format('null::%s', function.types[i])
               end, ', ' order by i) into arguments
        from generate_series(0, cardinality(function.types) - 1) as i;
        call := format('%s(%s)', function.proname, arguments);
        code := null;
        begin
          execute format('select occupancy.%s', call) using enormous;
        exception when others then
          get stacked diagnostics code = returned_sqlstate, message = message_text,
            detail = pg_exception_detail, hint = pg_exception_hint;
          said := length(coalesce(message, '') || coalesce(detail, '') || coalesce(hint, ''));
        end;
        return next;
      end loop;
    end $$";

#[tokio::test]
async fn whatever_is_enormous_is_refused_in_few_words() {
    let f = Fixture::new().await;
    f.run(ENORMOUS).await;
    let answers =
        f.unchanged(f.rows("select * from public.with_enormous(repeat('x', 1000000))", &[])).await;
    assert!(answers.len() > 30, "{answers:?}");
    for answer in answers {
        let code = answer["code"].as_str().unwrap_or("none");
        assert!(code.starts_with("OC"), "{answer}");
        assert!(answer["said"].as_i64() < Some(500), "{answer}");
    }
}

#[tokio::test]
async fn deep_long_and_large_arguments_are_bounded() {
    let f = Fixture::new().await;
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let element = |slots: &str| {
        format!(
            r#"[{{"session_id": "{}", "access_key": "AK", "kernels": [{{"agent": "i-01", "slots": {slots}}}]}}]"#,
            id(1)
        )
    };
    let many_kernels = vec![r#"{"agent": "i-01", "slots": {}}"#; 10_001].join(",");
    let megabytes = "9".repeat(10_000_000);
    let sql = "select outcome, code from occupancy.reserve_sessions($1::text::jsonb)";
    f.unchanged(async {
        // Elements with a mistake, told apart from the others in their batch.
        for slots in [
            format!(r#"{{"cpu": {}}}"#, deep(500)),
            deep(500),
            format!(r#"{{"cpu": "{megabytes}"}}"#),
            format!(r#"{{"{megabytes}": 1}}"#),
            format!(r#"{{"cpu": {}}}"#, &megabytes[..131_072]),
        ] {
            let row = f.row(sql, &[&element(&slots)]).await;
            assert_eq!((&row["outcome"], &row["code"]), (&json!("invalid"), &json!("OC001")));
        }
        let crowded = element("{}").replace(r#"{"agent": "i-01", "slots": {}}"#, &many_kernels);
        assert_eq!(f.row(sql, &[&crowded]).await["code"], "OC005");
        let batch = vec!["{}"; 10_001].join(",");
        assert_eq!(f.refused(sql, &[&format!("[{batch}]")]).await, "OC005");
        // The server's own limits, met before a function of ours is called.
        assert_eq!(f.refused(sql, &[&deep(1_000_000)]).await, "54001");
        assert_eq!(
            f.refused(sql, &[&element(&format!(r#"{{"cpu": {megabytes}}}"#))]).await,
            "22003"
        );
    })
    .await;
}
