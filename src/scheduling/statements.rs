//! Every call of the queue, on one page.

use crate::statements::statements;

statements! {
    enqueue_session(UUID, TEXT, JSONB, TEXT, TEXT, TEXT, INT4, TIMESTAMPTZ, UUID_ARRAY, TEXT) wakes(outcome: enqueued) =
        "select session_id, outcome, code, message, violations
           from occupancy.enqueue_session(
                  session_id => $1,
                  access_key => $2,
                  kernels => $3,
                  session_type => $4,
                  project => $5,
                  resource_group => $6,
                  priority => $7,
                  starts_at => $8,
                  dependencies => $9,
                  cluster_mode => $10)";

    cancel_session(UUID) wakes(outcome: cancelled) =
        "select session_id, outcome from occupancy.cancel_session(session_id => $1)";

    expire_pending(FLOAT8) wakes(any) =
        "select expired
           from occupancy.expire_pending(older_than => make_interval(secs => $1)) as expired";

    schedule_sessions(TEXT, INT4, TEXT, TEXT, INT4, BOOL) =
        "select session_id, outcome, code, message, violations, kernels
           from occupancy.schedule_sessions(resource_group => $1, max_sessions => $2,
                                            policy => $3, selector => $4, tries => $5,
                                            wait => $6)";

    set_session_status(UUID, TEXT, TEXT) wakes(to_status: TERMINATING, TERMINATED, CANCELLED) =
        "select session_id, outcome, from_status, to_status
           from occupancy.set_session_status(session_id => $1, status => $2, reason => $3)";

    explain_session(UUID) =
        "select session_id, status, waiting_since, tries, tried_at, code, message, scope, scope_id,
                slot, used, requested, max, holders, remedy
           from occupancy.explain_session(session_id => $1)";

    explain_agent(TEXT) =
        "select session_id, access_key, session_type, status, kernel_id, agent_id, slots, since
           from occupancy.explain_agent(agent_id => $1)";

    explain_key(TEXT) =
        "select session_id, access_key, session_type, status, kernel_id, agent_id, slots, since
           from occupancy.explain_key(access_key => $1)";

    get_queues(TEXT) =
        "select resource_group, sessions, untried, oldest_at, oldest_seconds
           from occupancy.get_queues(resource_group => $1)";

    queue(TEXT) =
        "select session_id, access_key, session_type, user_id, project, domain, resource_group,
                priority, enqueued_at, starts_at, cluster_mode, total_slots, kernels, dependencies,
                tries, tried_at, code, violations
           from occupancy.queue
          where resource_group = $1
          order by priority desc, enqueued_at, session_id";

    history(UUID) =
        "select session_id, changed_at, from_status, to_status, reason
           from occupancy.history
          where session_id = $1
          order by position";

    recalc_queue(TEXT) =
        "select subject, before, after from occupancy.recalc_queue(access_key => $1)";

    recalc_queue_fullscan() =
        "select subject, before, after from occupancy.recalc_queue_fullscan()";

    // It needs no answer that survives a crash, nor should it hold the lock of NOTIFY for a disk or
    // a standby.
    wake_schedulers() =
        "select set_config('synchronous_commit', 'off', true), occupancy.wake_schedulers()";

    pg_notify(TEXT) = "select pg_notify($1, '')";
}
