create or replace function occupancy.parse_amount(amount jsonb)
returns numeric
language plpgsql immutable parallel safe
as $$
declare
  -- Spelled out for ASCII: \d and \s follow the locale, and casts differ between versions.
  grammar constant text :=
    '^[ \t\n\v\f\r]*\+?((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?)'
    '[ \t\n\v\f\r]*(?:([kKmMgGtTpP])(?:[iI]?[bB])?)?[ \t\n\v\f\r]*$';
  written text;
  parts text[];
  parsed numeric;
begin
  if jsonb_typeof(amount) = 'number' then
    parsed := amount::numeric;
  elsif jsonb_typeof(amount) = 'string' then
    written := amount #>> '{}';
    if length(written) <= 256 then
      parts := regexp_match(written, grammar);
      parsed := parts[1]::numeric;
      if parts[2] is not null then
        parsed := parsed * case lower(parts[2])
          when 'k' then 1024
          when 'm' then 1048576
          when 'g' then 1073741824
          when 't' then 1099511627776
          else 1125899906842624
        end;
      end if;
    end if;
  end if;
  if parsed < 0 or parsed >= 1e24 or scale(trim_scale(parsed)) > 12 then
    return null;
  end if;
  return trim_scale(parsed);
end;
$$;

comment on function occupancy.parse_amount(jsonb) is
  'Internal. The exact amount that a JSON number, or a string such as "0.5" or "16g", stands for '
  '(suffix = power of 1024), at least 0, below 10^24, with at most 12 decimals; NULL for anything '
  'else.';
revoke all on function occupancy.parse_amount(jsonb) from public;
