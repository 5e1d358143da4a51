create or replace function occupancy.hold_elements(sessions jsonb)
returns occupancy.held_batch
language plpgsql volatile
as $$
declare
  named record;
  epochs bigint[] := array[]::bigint[];
  answers occupancy.admission[] := array[]::occupancy.admission[];
begin
  if not jsonb_path_exists(sessions, '$[*] ? (exists (@.manager) || exists (@.epoch))') then
    return row(sessions, null, null)::occupancy.held_batch;
  end if;
  -- In the order of their locks (see require_holder).
  for named in
    select n.holder, array_agg(n.position) as positions
    from (
      select e.position::integer,
             jsonb_build_object('manager', e.element -> 'manager', 'epoch', e.element -> 'epoch')
               as holder
      from jsonb_array_elements(sessions) with ordinality as e (element, position)
      where jsonb_typeof(e.element) = 'object'
    ) as n
    where jsonb_strip_nulls(n.holder) <> '{}'
    group by n.holder
    order by hashtext(n.holder ->> 'manager'), n.holder
  loop
    declare
      holder occupancy.holder;
      written text;
      detail text;
    begin
      holder := occupancy.parse_holder(named.holder);
      perform occupancy.require_holder(holder.manager, holder.epoch);
      for i in 1 .. cardinality(named.positions) loop
        epochs[named.positions[i]] := holder.epoch;
      end loop;
    exception when sqlstate 'OC005' or sqlstate 'OC009' then
      get stacked diagnostics written = message_text, detail = pg_exception_detail;
      for i in 1 .. cardinality(named.positions) loop
        answers[named.positions[i]] := occupancy.refusal(
          occupancy.readable_id(sessions -> (named.positions[i] - 1) -> 'session_id'),
          left(sessions -> (named.positions[i] - 1) ->> 'access_key', 256),
          sqlstate, format('%s (%s)', written, detail));
      end loop;
    end;
  end loop;
  -- What is refused asks for nothing, so that it is in nobody's way.
  return row(
    (select jsonb_agg(
       case when answers[e.position] is null and jsonb_typeof(e.element) = 'object'
            then e.element - array['manager', 'epoch']
            when jsonb_typeof(e.element) = 'object' then '{}' else e.element end
       order by e.position)
     from jsonb_array_elements(sessions) with ordinality as e (element, position)),
    epochs, answers)::occupancy.held_batch;
end;
$$;

comment on function occupancy.hold_elements(jsonb) is
  'Internal. Takes the holders out of a batch and sees that they are in force. An element whose '
  'holder is none (OC005) or fenced (OC009) is answered already.';
revoke all on function occupancy.hold_elements(jsonb) from public;
