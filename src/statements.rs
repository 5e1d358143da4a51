//! Every call that the client makes, on one page; those of the queue are on one of their own.
//!
//! A test prepares each of them against the live schema.

/// Declares calls: a name, the types of the parameters, in `wakes(…)` the answers after which there
/// may be room that was not there before, and the text.
macro_rules! statements {
    (@wakes) => { $crate::call::Wakes::Never };
    (@wakes any) => { $crate::call::Wakes::AnyRow };
    (@wakes $column:ident $($word:ident)+) => {
        $crate::call::Wakes::When(stringify!($column), &[$(stringify!($word)),+])
    };
    ($(
        $name:ident($($ty:ident),*) $(wakes($column:ident $(: $($word:ident),+)?))? = $sql:literal;
    )+) => {
        $(
            #[expect(non_upper_case_globals, reason = "each is named as what it calls")]
            pub(crate) static $name: $crate::call::Statement = $crate::call::Statement {
                name: stringify!($name),
                sql: $sql,
                types: &[$(tokio_postgres::types::Type::$ty),*],
                wakes: $crate::statements::statements!(@wakes $($column $($($word)+)?)?),
            };
        )+

        /// Every statement, for a test that prepares them all.
        pub static ALL: &[&$crate::call::Statement] = &[$(&$name),+];
    };
}
pub(crate) use statements;

statements! {
    check_session(UUID, TEXT, JSONB, TEXT, TEXT) =
        "select predicate, passed, code, message, scope, scope_id, used, requested, max
           from occupancy.check_session(session_id => $1, access_key => $2, kernels => $3,
                                        session_type => $4, project => $5)";

    reserve_session(UUID, TEXT, JSONB, TEXT, TEXT, TEXT, INT8) =
        "select session_id, outcome, code, message, access_key, used, max, violations, kernels
           from occupancy.reserve_session(session_id => $1, access_key => $2, kernels => $3,
                                          session_type => $4, project => $5,
                                          manager => $6, epoch => $7)";

    reserve_sessions(JSONB) =
        "select session_id, outcome, code, message, access_key, used, max, violations, kernels
           from occupancy.reserve_sessions(sessions => $1)";

    release_session(UUID, TEXT, INT8) wakes(outcome: released) =
        "select session_id, outcome
           from occupancy.release_session(session_id => $1, manager => $2, epoch => $3)";

    release_sessions(UUID_ARRAY, TEXT, INT8) wakes(outcome: released) =
        "select session_id, outcome
           from occupancy.release_sessions(session_ids => $1, manager => $2, epoch => $3)";

    release_kernel(UUID, TEXT, INT8) wakes(outcome: released) =
        "select kernel_id, session_id, outcome, session_ended
           from occupancy.release_kernel(kernel_id => $1, manager => $2, epoch => $3)";

    terminate_session(UUID, TEXT, INT8) wakes(outcome: terminating) =
        "select session_id, outcome
           from occupancy.terminate_session(session_id => $1, manager => $2, epoch => $3)";

    settle_kernel(UUID, JSONB, TEXT, INT8) wakes(outcome: settled) =
        "select kernel_id, session_id, outcome
           from occupancy.settle_kernel(kernel_id => $1, occupied_slots => $2,
                                        manager => $3, epoch => $4)";

    register_manager(TEXT, FLOAT8, FLOAT8) =
        "select manager, epoch
           from occupancy.register_manager(manager => $1, ttl => make_interval(secs => $2),
                                           grace => make_interval(secs => $3))";

    heartbeat_manager(TEXT, INT8) =
        "select manager, epoch, outcome
           from occupancy.heartbeat_manager(manager => $1, epoch => $2)";

    confirm_session(UUID, TEXT, INT8) =
        "select session_id, outcome
           from occupancy.confirm_session(session_id => $1, manager => $2, epoch => $3)";

    reclaim_expired(INT8) wakes(any) =
        "select session_id, manager, epoch from occupancy.reclaim_expired(max_sessions => $1)";

    prune_managers(FLOAT8) =
        "select pruned
           from occupancy.prune_managers(older_than => make_interval(secs => $1)) as pruned";

    managers() =
        "select manager, epoch, status, extract(epoch from ttl)::float8 as ttl_seconds,
                extract(epoch from grace)::float8 as grace_seconds, registered_at, beat_at,
                fenced_at, sessions
           from occupancy.managers
          order by manager, epoch";

    leases() =
        "select session_id, status, access_key, manager, epoch, state, created_at, suspect_at,
                expires_at
           from occupancy.leases
          order by expires_at, session_id";

    sweep_agents(FLOAT8) =
        "select agent_id, heartbeat_at
           from occupancy.sweep_agents(ttl => make_interval(secs => $1))
          order by agent_id";

    evacuate_agent(TEXT) wakes(any) =
        "select kernel_id, session_id, outcome, session_ended
           from occupancy.evacuate_agent(agent_id => $1)";

    clear_concurrency(TEXT) wakes(any) =
        "select ended from occupancy.clear_concurrency(access_key => $1) as ended";

    prune_ended(FLOAT8) =
        "select pruned
           from occupancy.prune_ended(older_than => make_interval(secs => $1)) as pruned";

    get_concurrency(TEXT) =
        "select access_key, compute_used, compute_max, system_used, system_max
           from occupancy.get_concurrency(access_key => $1)";

    get_session(UUID) =
        "select session_id, status, access_key, session_type, user_id, project, resource_group,
                domain, kernels, created_at, terminating_at, ended_at
           from occupancy.get_session(session_id => $1)";

    recalc_concurrency(TEXT) =
        "select subject, before, after from occupancy.recalc_concurrency(access_key => $1)";

    recalc_concurrency_fullscan() =
        "select subject, before, after from occupancy.recalc_concurrency_fullscan()";

    recalc_quota(TEXT, TEXT) =
        "select subject, before, after
           from occupancy.recalc_quota(scope => $1, scope_id => $2)";

    recalc_quotas_fullscan() =
        "select subject, before, after from occupancy.recalc_quotas_fullscan()";

    recalc_agent(TEXT) =
        "select subject, before, after from occupancy.recalc_agent(agent_id => $1)";

    recalc_agents_by_session(UUID) =
        "select subject, before, after from occupancy.recalc_agents_by_session(session_id => $1)";

    recalc_agents_fullscan() =
        "select subject, before, after from occupancy.recalc_agents_fullscan()";

    audit() =
        "select invariant, subject, expected, actual, remedy from occupancy.audit()";

    put_resource_policy(TEXT, INT8, INT8, JSONB, TEXT, INT8, JSONB, INT8) wakes(any) =
        "select outcome
           from occupancy.put_resource_policy(
                  name => $1,
                  max_concurrent_sessions => $2,
                  max_concurrent_system_sessions => $3,
                  total_resource_slots => $4,
                  default_for_unspecified => $5,
                  max_pending_sessions => $6,
                  max_pending_resource_slots => $7,
                  max_kernels_per_session => $8)";

    drop_resource_policy(TEXT) =
        "select outcome from occupancy.drop_resource_policy(name => $1)";

    put_keypair(TEXT, TEXT, TEXT, BOOL, TEXT) wakes(any) =
        "select outcome
           from occupancy.put_keypair(access_key => $1, user_id => $2, resource_policy => $3,
                                      is_active => $4, domain => $5)";

    drop_keypair(TEXT) =
        "select outcome from occupancy.drop_keypair(access_key => $1)";

    put_quota(TEXT, TEXT, INT8, JSONB, TEXT) wakes(any) =
        "select outcome
           from occupancy.put_quota(
                  scope => $1,
                  scope_id => $2,
                  max_concurrent_sessions => $3,
                  total_resource_slots => $4,
                  default_for_unspecified => $5)";

    drop_quota(TEXT, TEXT) wakes(outcome: dropped) =
        "select outcome from occupancy.drop_quota(scope => $1, scope_id => $2)";

    put_agent(TEXT, JSONB, TEXT, TEXT, BOOL) wakes(outcome: created) =
        "select outcome
           from occupancy.put_agent(agent_id => $1, available_slots => $2, resource_group => $3,
                                    status => $4, schedulable => $5)";

    drop_agent(TEXT) =
        "select outcome from occupancy.drop_agent(agent_id => $1)";

    agent_occupancy() =
        "select agent_id, resource_group, status, schedulable, available_slots, occupied_slots
           from occupancy.agent_occupancy
          order by agent_id";

    concurrency() =
        "select access_key, user_id, domain, resource_policy, is_active,
                compute_used, compute_max, system_used, system_max,
                occupied_slots, total_resource_slots, default_for_unspecified
           from occupancy.concurrency
          order by access_key";

    quotas() =
        "select scope, scope_id, used, max_concurrent_sessions,
                occupied_slots, total_resource_slots, default_for_unspecified
           from occupancy.quotas
          order by scope, scope_id";

    resource_policies() =
        "select name, max_concurrent_sessions, max_concurrent_system_sessions,
                total_resource_slots, default_for_unspecified,
                max_pending_sessions, max_pending_resource_slots, max_kernels_per_session
           from occupancy.resource_policies
          order by name";

    sessions(TEXT) =
        "select session_id, status, access_key, session_type, user_id, project,
                resource_group, domain, created_at, terminating_at, live_kernels
           from occupancy.sessions
          where access_key = $1
          order by created_at, session_id";

    kernels(TEXT) =
        "select kernel_id, session_id, agent_id, requested_slots, occupied_slots,
                access_key, status, created_at
           from occupancy.kernels
          where agent_id = $1
          order by created_at, kernel_id";
}
