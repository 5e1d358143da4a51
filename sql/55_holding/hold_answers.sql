create or replace function occupancy.hold_answers(
  held occupancy.held_batch,
  given occupancy.admission[]
)
returns setof occupancy.admission
language plpgsql volatile
set enable_nestloop = off
as $$
declare
  epochs constant bigint[] := held.epochs;
  refused constant occupancy.admission[] := held.answers;
begin
  update occupancy.session s set holder_epoch = n.epoch
  from (
    select a.session_id, epochs[a.position] as epoch
    from unnest(given) with ordinality as a (
      session_id, outcome, code, message, access_key, used, max, violations, kernels, position)
    where a.outcome = 'admitted' and epochs[a.position] is not null
  ) as n
  where s.session_id = n.session_id;
  for i in 1 .. cardinality(given) loop
    if (refused[i]).outcome is not null then
      return next refused[i];
    elsif epochs[i] is not null and (given[i]).outcome = 'already_admitted' then
      return next occupancy.hold(given[i], epochs[i]);
    else
      return next given[i];
    end if;
  end loop;
end;
$$;

comment on function occupancy.hold_answers(occupancy.held_batch, occupancy.admission[]) is
  'Internal. hold for a batch, and the answers in input order.';
revoke all on function occupancy.hold_answers(occupancy.held_batch, occupancy.admission[])
  from public;
