-- Now that all functions are there, have their languages check each body.
set local check_function_bodies = on;
do $$
declare
  routine record;
begin
  for routine in
    select p.oid::regprocedure as signature, l.lanvalidator::regproc as validator
    from pg_proc p
    join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'occupancy'::regnamespace
      and p.prokind <> 'a'
      and l.lanvalidator <> 0
  loop
    begin
      execute format('select %s(%s)', routine.validator, routine.signature::oid);
    exception when others then
      raise exception using
        errcode = sqlstate,
        message = sqlerrm,
        detail = 'in function ' || routine.signature;
    end;
  end loop;
end
$$;
