-- Instants are microseconds since 1970-01-01T00:00:00Z, UUIDs 16 bytes, JSON text.

create table users (
  -- autoincrement: a number is never given out twice, also not after a deletion
  id integer primary key autoincrement,
  phone text unique,
  name text,
  language text not null default 'ko',
  timezone text not null default 'Asia/Seoul',
  role text not null default 'USER',
  status text not null default 'ACTIVE' check (status in ('ACTIVE', 'SUSPENDED', 'DELETED')),
  created_at integer not null,
  updated_at integer not null
) strict;

create table sessions (
  id blob primary key not null check (length(id) = 16),
  user_id integer not null references users (id),
  created_at integer not null,
  last_used_at integer not null,
  revoked_at integer,
  client text
) strict;
create index sessions_by_user on sessions (user_id);
create index sessions_revoked on sessions (revoked_at) where revoked_at is not null;

create table refresh_tokens (
  hash blob primary key not null check (length(hash) = 32),
  session_id blob not null references sessions (id) on delete cascade,
  created_at integer not null,
  expires_at integer not null,
  replaced_by blob
) strict, without rowid;
create index refresh_tokens_by_session on refresh_tokens (session_id);

create table events (
  id integer primary key autoincrement,
  room blob not null unique check (length(room) = 16),
  title text not null check (length(title) between 1 and 200),
  description text,
  location text,
  start_time integer not null,
  end_time integer not null check (end_time >= start_time),
  timezone text not null,
  status text not null check (status in ('PROPOSED', 'CONFIRMED', 'CANCELED', 'DONE')),
  creator_id integer not null references users (id),
  -- how many rows event_history has of this event
  fact_no integer not null check (fact_no >= 0),
  created_at integer not null,
  updated_at integer not null
) strict;

create table participants (
  event_id integer not null references events (id),
  user_id integer not null references users (id),
  role text not null check (role in ('host', 'guest')),
  answer text not null check (answer in ('pending', 'accepted', 'declined')),
  answered_at integer,
  joined_at integer not null,
  primary key (event_id, user_id)
) strict, without rowid;
create index participants_by_user on participants (user_id, event_id);

-- History and outbox in one: a row is never deleted, and `seq` is null until it is
-- known where the fact stands in the room's log.
create table event_history (
  event_id integer not null references events (id),
  fact_no integer not null check (fact_no >= 1),
  id blob not null unique check (length(id) = 16),
  kind text not null,
  -- no reference to users: a fact taken over from the log may name somebody who is
  -- not in this database
  actor integer,
  -- whose taking part this fact begins or ends
  subject integer,
  at integer not null,
  payload text not null check (json_valid(payload)),
  seq integer check (seq >= 1),
  primary key (event_id, fact_no)
) strict, without rowid;
create index event_history_unmarked on event_history (event_id, at) where seq is null;
create index event_history_by_subject on event_history (event_id, subject, fact_no) where subject is not null;

create table invites (
  code text primary key not null,
  event_id integer not null references events (id),
  created_by integer not null references users (id),
  -- the event's fact_no when the link was made: who was removed later cannot use it
  fact_no integer not null,
  expires_at integer,
  -- 0 means without limit
  max_uses integer not null check (max_uses >= 0),
  use_count integer not null check (use_count >= 0),
  is_active integer not null check (is_active in (0, 1)),
  created_at integer not null
) strict, without rowid;
create index invites_by_event on invites (event_id);
