create or replace function occupancy.check_span(
  value interval,
  lowest interval,
  highest interval,
  argument text
)
returns interval
language plpgsql immutable parallel safe
as $$
declare
  -- Days and months may be of mixed signs, and of different lengths at different dates.
  seconds constant numeric := case when value between -interval '1000 years' and interval '1000 years'
                                   then extract(epoch from value) end;
begin
  if (seconds between extract(epoch from lowest) and extract(epoch from highest)) is not true then
    raise exception '% is missing or out of range', argument
      using errcode = 'OC005', detail = coalesce(value::text, 'NULL'),
            hint = format('pass an interval from %s to %s', lowest, highest);
  end if;
  return make_interval(secs => seconds::double precision);
end;
$$;

comment on function occupancy.check_span(interval, interval, interval, text) is
  'Internal. The interval in seconds; refuses (OC005) what is NULL or out of range.';
revoke all on function occupancy.check_span(interval, interval, interval, text) from public;
