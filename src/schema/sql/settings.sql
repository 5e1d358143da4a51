-- What a session may have set otherwise and what would change the outcome: where unqualified names
-- lead, and how the server writes definitions down. All of it ends with the transaction.
set local search_path = pg_catalog, pg_temp;
set local client_min_messages = warning;
set local statement_timeout = 0;
set local standard_conforming_strings = on;
set local quote_all_identifiers = off;
set local timezone = 'UTC';
set local datestyle = 'ISO, YMD';
set local intervalstyle = 'postgres';
