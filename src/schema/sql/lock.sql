-- One migrator at a time in a database; the key is `occupanc` in ASCII. Waiting for another
-- migrator harms nobody, so that wait is long.
set local lock_timeout = '10min';
do $$ begin perform pg_advisory_xact_lock(x'6f63637570616e63'::bigint); end $$;
-- From here on, whoever waits for a table holds up everybody who comes after: give way soon.
set local lock_timeout = '1s';
