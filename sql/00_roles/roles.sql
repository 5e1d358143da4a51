do $$ begin
  create role occupancy_owner nologin; create role occupancy_viewer nologin; create role occupancy_manager nologin in role occupancy_viewer; create role occupancy_admin nologin in role occupancy_manager;
exception when duplicate_object then null; end $$;
