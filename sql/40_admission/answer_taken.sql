create or replace function occupancy.answer_taken(batch occupancy.batch, claimed uuid[])
returns occupancy.batch
language plpgsql volatile
-- Arrays are joined here, and tables that may be believed empty (see CONTRIBUTING on plans).
set enable_nestloop = off
as $$
declare
  answers occupancy.admission[] := batch.answers;
  positions integer[] := array[]::integer[];
  taken constant uuid[] := array(
    select s.session_id from unnest(batch.sessions) as s except select unnest(claimed));
  known record;
begin
  -- They stay until we commit. Were one pruned, somebody else could claim it and wait for a key of
  -- ours, while we come to wait for his claim.
  perform from occupancy.session s
  where s.session_id = any (taken)
  order by s.session_id for no key update;
  for known in
    with again as materialized (
      select s.* from unnest(batch.sessions) as s
      where s.session_id in (select unnest(taken))
    ), asked as materialized (
      select k.session,
             jsonb_agg(jsonb_build_array(
               case when not k.id_generated then k.kernel_id end, k.agent_id, k.slots)
               order by k.position) as content
      from unnest(batch.kernels) as k
      where k.session in (select a.position from again a)
      group by k.session
    ), stored as materialized (
      select s.*, k.*
      from occupancy.session s
      cross join lateral (
        select jsonb_agg(jsonb_build_array(
                 case when not n.id_generated then n.kernel_id end, n.agent_id, n.requested_slots)
                 order by n.position) as content,
               jsonb_agg(jsonb_build_object(
                 'kernel_id', n.kernel_id, 'agent', n.agent_id, 'slots', n.requested_slots)
                 order by n.position) as answer
        from occupancy.kernel n
        where n.session_id = s.session_id and s.status = 'RUNNING'
      ) as k
      where s.session_id = any (taken)
    )
    select a.position, a.session_id, a.access_key, s.status,
           s.access_key = a.access_key and s.session_type = a.session_type
             and s.project is not distinct from a.project and s.content = c.content as same,
           s.answer
    from again a
    left join asked c on c.session = a.position
    left join stored s on s.session_id = a.session_id
  loop
    positions := positions || known.position;
    -- None any more: it was pruned, so it had ended. One that waits in the queue conflicts.
    answers[known.position] := case
      when known.status is null or known.status not in ('PENDING', 'RUNNING')
      then occupancy.ended_rejection(known.session_id, known.access_key, null, null)
      else occupancy.repetition(known.session_id, known.access_key, known.same, known.answer)
    end;
  end loop;
  batch := occupancy.batch_without(batch, positions);
  batch.answers := answers;
  return batch;
end;
$$;

comment on function occupancy.answer_taken(occupancy.batch, uuid[]) is
  'Internal. Answers the sessions of a batch whose ids were there before, and leaves the others. '
  'claimed: the ids that were not.';
revoke all on function occupancy.answer_taken(occupancy.batch, uuid[]) from public;
