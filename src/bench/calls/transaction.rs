//! The same reservation as statements that the client sends in one transaction, and decides on:
//! what a platform does whose database has no functions. Ten round trips.

use tokio_postgres::Row;
use tokio_postgres::types::Json;

use super::{statements, unexpected};
use crate::bench::link::Link;
use crate::bench::order::{self, Order};
use crate::error::Result;
use crate::slots::ResourceSlots;
use crate::workload::amount;

statements! {
    CLAIM(UUID, TEXT, TEXT, TEXT, TEXT) =
        "insert into occupancy.session (
           session_id, status, access_key, session_type, user_id, project, resource_group, domain,
           created_at)
         select $1, 'RUNNING', k.access_key, $3, k.user_id, $4, a.resource_group, k.domain,
                clock_timestamp()
           from occupancy.keypair k, occupancy.agent a
          where k.access_key = $2 and a.agent_id = $5
         on conflict do nothing
         returning user_id, resource_group, domain";

    LOCK_KEY(TEXT) =
        "select k.is_active, k.compute_used, p.max_concurrent_sessions, p.max_kernels_per_session,
                k.occupied_slots, p.total_resource_slots as capacity
           from occupancy.keypair k
           join occupancy.resource_policy p on p.name = k.resource_policy
          where k.access_key = $1
            for no key update of k";

    LOCK_AGENT(TEXT) =
        "select a.status = 'ALIVE' and a.schedulable as is_active, a.occupied_slots,
                a.available_slots as capacity
           from occupancy.agent a
          where a.agent_id = $1
            for no key update";

    LOCK_QUOTAS(TEXT, TEXT, TEXT, TEXT) =
        "select q.scope, q.scope_id, q.used, q.max_concurrent_sessions, q.occupied_slots,
                q.total_resource_slots as capacity
           from occupancy.quota q
          where q.scope_id = any (array[$1, $2, $3, $4])
            and (q.scope, q.scope_id) in (
                  ('user', $1), ('project', $2), ('resource_group', $3), ('domain', $4))
          order by array_position(
                     array['user', 'project', 'resource_group', 'domain'], q.scope::text)
            for no key update";

    TAKE_SLOT(TEXT, UUID) =
        "insert into occupancy.session_concurrency (access_key, session_id, system)
         values ($1, $2, false)";

    INSERT_KERNEL(UUID, UUID, TEXT, JSONB) =
        "insert into occupancy.kernel (
           kernel_id, session_id, position, id_generated, agent_id, requested_slots)
         values ($1, $2, 1, false, $3, $4)";

    CHARGE_KEY(TEXT, JSONB) =
        "update occupancy.keypair
            set compute_used = compute_used + 1, occupied_slots = $2
          where access_key = $1";

    CHARGE_AGENT(TEXT, JSONB) =
        "update occupancy.agent set occupied_slots = $2 where agent_id = $1";

    CHARGE_QUOTA(TEXT, TEXT, JSONB) =
        "update occupancy.quota set used = used + 1, occupied_slots = $3
          where scope = $1 and scope_id = $2";
}

/// Reserves, and fails if there is no room: nobody asks for more than there is.
pub(crate) async fn reserve(link: &mut Link, order: &Order) -> Result<()> {
    link.control("begin").await?;
    decide_and_write(link, order).await?;
    link.control("commit").await
}

async fn decide_and_write(link: &mut Link, order: &Order) -> Result<()> {
    let Order { reservation, kernel_id, agent_id, .. } = order;
    let (session_id, key) = (&reservation.session_id, &reservation.access_key);
    let project = &reservation.project;
    let session_type = reservation.session_type.as_str();
    let slots = order::slots();

    let claim = link.row(&CLAIM, &[session_id, key, &session_type, project, agent_id]).await?;
    let held = link.row(&LOCK_KEY, &[key]).await?;
    let max_kernels: Option<i64> = held.try_get("max_kernels_per_session")?;
    let key_slots = if held.try_get("is_active")?
        && below(held.try_get("compute_used")?, held.try_get("max_concurrent_sessions")?)
        && max_kernels.is_none_or(|max| max >= 1)
    {
        occupied_with(&held, &slots)?
    } else {
        None
    };
    let agent = link.row(&LOCK_AGENT, &[agent_id]).await?;
    let agent_slots =
        if agent.try_get("is_active")? { occupied_with(&agent, &slots)? } else { None };
    let (Some(key_slots), Some(agent_slots)) = (key_slots, agent_slots) else {
        return Err(unexpected("rejected", "admitted", None));
    };
    charge_quotas(link, &claim, project.as_deref(), &slots).await?;

    link.rows(&TAKE_SLOT, &[key, session_id]).await?;
    link.rows(&INSERT_KERNEL, &[kernel_id, session_id, agent_id, &Json(&slots)]).await?;
    link.rows(&CHARGE_KEY, &[key, &Json(key_slots)]).await?;
    link.rows(&CHARGE_AGENT, &[agent_id, &Json(agent_slots)]).await?;
    Ok(())
}

async fn charge_quotas(
    link: &mut Link,
    claim: &Row,
    project: Option<&str>,
    slots: &ResourceSlots,
) -> Result<()> {
    let user: Option<&str> = claim.try_get("user_id")?;
    let group: Option<&str> = claim.try_get("resource_group")?;
    let domain: Option<&str> = claim.try_get("domain")?;
    for quota in link.rows(&LOCK_QUOTAS, &[&user, &project, &group, &domain]).await? {
        let (scope, id): (&str, &str) = (quota.try_get("scope")?, quota.try_get("scope_id")?);
        let fits = below(quota.try_get("used")?, quota.try_get("max_concurrent_sessions")?);
        match occupied_with(&quota, slots)? {
            Some(occupied) if fits => {
                link.rows(&CHARGE_QUOTA, &[&scope, &id, &Json(occupied)]).await?;
            }
            _ => return Err(unexpected("rejected", "admitted", None)),
        }
    }
    Ok(())
}

fn below(used: i64, max: Option<i64>) -> bool {
    max.is_none_or(|max| used < max)
}

/// What a locked row's `occupied_slots` become, if they stay within its `capacity`.
fn occupied_with(row: &Row, added: &ResourceSlots) -> Result<Option<ResourceSlots>> {
    let mut occupied: ResourceSlots = row.try_get("occupied_slots")?;
    let capacity: Option<ResourceSlots> = row.try_get("capacity")?;
    for (name, amount) in added.iter() {
        let used = occupied.get(name).map_or(Some(0), amount::parse);
        let Some(sum) = used.zip(amount::parse(amount)).map(|(used, added)| used + added) else {
            return Ok(None);
        };
        let max = capacity.as_ref().map(|slots| slots.get(name).and_then(amount::parse));
        if max.is_some_and(|max| max.is_none_or(|max| sum > max)) {
            return Ok(None);
        }
        occupied = occupied.with(name, amount::format(sum));
    }
    Ok(Some(occupied))
}
