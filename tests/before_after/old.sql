-- What the two older designs stand on. The managers' code is in old.rs.

-- The first store: Redis. Every command is a transaction of its own, whatever the manager's
-- transaction in the other store becomes.
create schema store;
create table store.counter (access_key text primary key, used bigint not null);
create table store.member (access_key text, session_id text, primary key (access_key, session_id));

create function store.get(key text) returns bigint language sql as $$
  select coalesce((select used from store.counter where access_key = key), 0);
$$;
create function store.set(key text, value bigint) returns void language sql as $$
  insert into store.counter values (key, value)
  on conflict (access_key) do update set used = excluded.used;
$$;
create function store.incr(key text) returns void language sql as $$
  insert into store.counter values (key, 1)
  on conflict (access_key) do update set used = counter.used + 1;
$$;
create function store.scard(key text) returns bigint language sql as $$
  select count(*) from store.member where access_key = key;
$$;
create function store.sadd(key text, id text) returns void language sql as $$
  insert into store.member values (key, id) on conflict do nothing;
$$;
create function store.del(key text) returns void language sql as $$
  delete from store.member where access_key = key;
$$;

-- The second store: the platform's own tables.
create schema platform;
create table platform.session (session_id text primary key, access_key text, status text);
create table platform.kernel (kernel_id text primary key, session_id text, status text);
