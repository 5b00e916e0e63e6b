-- The event's rule, and what has become of it.
-- null: everyone has to accept
alter table events add column quorum bigint check (quorum >= 2);
alter table events add column confirm_by timestamptz;
alter table events add column on_deadline text not null default 'stay' check (on_deadline in ('stay', 'cancel'));
alter table events add column change_limit bigint check (change_limit >= 0);
alter table events add column confirmed_at timestamptz;
alter table events add column was_confirmed boolean not null default false;
alter table events add column changes_used bigint not null default 0 check (changes_used >= 0);
alter table events add column deadline_spent boolean not null default false;
alter table events add column ended_at timestamptz;
-- when the next thing happens to the event by itself
alter table events add column due_at timestamptz;
create index events_due on events (due_at) where due_at is not null;
update events set ended_at = updated_at where status in ('CANCELED', 'DONE');
-- An event that is confirmed already is done by itself at its end, as one confirmed from now on.
update events set
  was_confirmed = true,
  confirmed_at = coalesce(
    (select max(fact.at) from event_history fact where fact.event_id = events.id and fact.kind = 'confirmed'),
    updated_at)
where status = 'CONFIRMED';
update events set due_at = end_time where status = 'CONFIRMED' and confirmed_at < end_time;
update events set was_confirmed = true
where exists (select 1 from event_history fact where fact.event_id = events.id and fact.kind = 'confirmed');

alter table participants add column reason text;
alter table participants add column read_seq bigint not null default 0 check (read_seq >= 0);
alter table participants add column read_msg_no bigint not null default 0 check (read_msg_no >= 0);
alter table participants add column read_at timestamptz;

-- seconds that an access token of this session lives; null: the configured life
alter table sessions add column access_life bigint check (access_life > 0);
-- when a refresh token was replaced by its successor
alter table refresh_tokens add column replaced_at timestamptz;
-- whether an account that is gone may still take part in events that go on
alter table users add column leaving boolean not null default false;
create index users_leaving on users (id) where leaving;

-- Answers to creations, so that a repeated request gets the same one.
create table idempotency_keys (
  user_id bigint not null references users (id),
  key text collate "C" not null check (length(key) between 1 and 200),
  -- SHA-256 of what was asked
  fingerprint bytea not null check (length(fingerprint) = 32),
  answer jsonb not null,
  created_at timestamptz not null,
  primary key (user_id, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);

-- in which events somebody ever took part
create index event_history_by_person on event_history (subject, event_id) where subject is not null;
