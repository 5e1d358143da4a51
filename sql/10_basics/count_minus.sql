create or replace function occupancy.count_minus(base bigint, freed bigint, subject text)
returns bigint
language plpgsql immutable parallel safe
as $$
begin
  if freed > base then
    raise exception '% would run less than no session', subject
      using errcode = 'OC010', detail = format('counted: %s, freed: %s', base, freed),
            hint = 'run occupancy.audit(), then the recalculation that it names';
  end if;
  return base - freed;
end;
$$;

comment on function occupancy.count_minus(bigint, bigint, text) is
  'Internal. The difference of two numbers of sessions. Below zero is a counter that contradicts '
  'the ledger: OC010, naming the subject.';
revoke all on function occupancy.count_minus(bigint, bigint, text) from public;
