create or replace function occupancy.refuse_holder(manager text, epoch bigint, session_id uuid)
returns void
language plpgsql stable
as $$
begin
  raise exception 'the holder is fenced'
    using errcode = 'OC009',
          detail = format('manager %s, epoch %s: %s', manager, epoch, coalesce(
            (select format('fenced by epoch %s, which was registered at %s', m.epoch,
                           m.registered_at)
             from occupancy.manager m
             where m.manager = refuse_holder.manager and m.fenced_at is null
               and m.epoch > refuse_holder.epoch),
            'not registered')) || coalesce('; ' || occupancy.holder_of(session_id), ''),
          hint = 'stop, or begin anew with occupancy.register_manager';
end;
$$;

comment on function occupancy.refuse_holder(text, bigint, uuid) is
  'Internal. Refuses (OC009) a stale holder and says who is in its place.';
revoke all on function occupancy.refuse_holder(text, bigint, uuid) from public;
