create or replace function occupancy.parse_long_amount(amount text)
returns numeric
language plpgsql immutable parallel safe
as $$
declare
  blanks constant text := E' \t\n\x0b\f\r';
  number constant text := rtrim(ltrim(amount, blanks || '+'), blanks || 'kKmMgGtTpPiIbB');
  suffix constant text := btrim(ltrim(amount, blanks || '+-.0123456789eE'), blanks);
  mantissa constant text := split_part(lower(number), 'e', 1);
  exponent constant text := substr(number, length(mantissa) + 1);
  whole constant text := ltrim(split_part(mantissa, '.', 1), '0');
  fraction constant text := rtrim(split_part(mantissa, '.', 2), '0');
begin
  -- Exponent and suffix move the point by at most 99 and some 50 places, so that an amount in range
  -- has fewer digits than this. Every step goes through the text once.
  if length(whole) + length(fraction) > 400 then
    return null;
  end if;
  return occupancy.parse_amount(
    to_jsonb('0' || whole || '.' || fraction || exponent || suffix));
end;
$$;

comment on function occupancy.parse_long_amount(text) is
  'Internal. What a string of very many characters stands for, of which parse_amount has found that '
  'it has the form of an amount; NULL if it is none in range.';
revoke all on function occupancy.parse_long_amount(text) from public;
