create or replace function occupancy.charge_seen_quotas(
  quotas occupancy.seen_quota[],
  requested jsonb
)
returns boolean
language plpgsql volatile
as $$
declare
  seen occupancy.seen_quota;
  charged occupancy.seen_quota;
begin
  foreach seen in array quotas loop
    -- As with the key and the agents (see reserve_session): the version that was seen has room.
    update occupancy.quota q
    set used = q.used + 1,
        occupied_slots = case when q.xmin = seen.version then seen.charged
                              else occupancy.slots_charged(
                                q.occupied_slots, requested, q.total_resource_slots,
                                q.default_for_unspecified) end
    where q.scope_id = seen.scope_id and q.scope = seen.scope
      and (q.xmin = seen.version
           or (q.max_concurrent_sessions is null or q.used < q.max_concurrent_sessions)
           and (q.total_resource_slots is null
                or occupancy.slots_charged(
                  q.occupied_slots, requested, q.total_resource_slots, q.default_for_unspecified)
                  is not null));
    if not found then
      foreach charged in array quotas loop
        exit when charged.scope = seen.scope;
        update occupancy.quota q
        set used = q.used - 1,
            occupied_slots = occupancy.slots_minus(
              q.occupied_slots, requested, q.scope || ' quota ' || q.scope_id)
        where q.scope_id = charged.scope_id and q.scope = charged.scope;
      end loop;
      return false;
    end if;
  end loop;
  return true;
end;
$$;

comment on function occupancy.charge_seen_quotas(occupancy.seen_quota[], jsonb) is
  'Internal. Charges the quotas of a session, in this order, if it still fits in all of them, or '
  'none and returns false.';
revoke all on function occupancy.charge_seen_quotas(occupancy.seen_quota[], jsonb) from public;
