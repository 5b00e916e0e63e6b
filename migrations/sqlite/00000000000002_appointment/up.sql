-- The event's rule, and what has become of it.
-- null: everyone has to accept
alter table events add column quorum integer check (quorum >= 2);
alter table events add column confirm_by integer;
alter table events add column on_deadline text not null default 'stay' check (on_deadline in ('stay', 'cancel'));
alter table events add column change_limit integer check (change_limit >= 0);
alter table events add column confirmed_at integer;
alter table events add column was_confirmed integer not null default 0 check (was_confirmed in (0, 1));
alter table events add column changes_used integer not null default 0 check (changes_used >= 0);
alter table events add column deadline_spent integer not null default 0 check (deadline_spent in (0, 1));
alter table events add column ended_at integer;
-- when the next thing happens to the event by itself
alter table events add column due_at integer;
create index events_due on events (due_at) where due_at is not null;
update events set ended_at = updated_at where status in ('CANCELED', 'DONE');
-- An event that is confirmed already is done by itself at its end, as one confirmed from now on.
update events set
  was_confirmed = 1,
  confirmed_at = coalesce(
    (select max(fact.at) from event_history fact where fact.event_id = events.id and fact.kind = 'confirmed'),
    updated_at)
where status = 'CONFIRMED';
update events set due_at = end_time where status = 'CONFIRMED' and confirmed_at < end_time;
update events set was_confirmed = 1
where exists (select 1 from event_history fact where fact.event_id = events.id and fact.kind = 'confirmed');

alter table participants add column reason text;
alter table participants add column read_seq integer not null default 0 check (read_seq >= 0);
alter table participants add column read_msg_no integer not null default 0 check (read_msg_no >= 0);
alter table participants add column read_at integer;

-- seconds that an access token of this session lives; null: the configured life
alter table sessions add column access_life integer check (access_life > 0);
-- when a refresh token was replaced by its successor
alter table refresh_tokens add column replaced_at integer;
-- whether an account that is gone may still take part in events that go on
alter table users add column leaving integer not null default 0 check (leaving in (0, 1));
create index users_leaving on users (id) where leaving = 1;

-- Answers to creations, so that a repeated request gets the same one.
create table idempotency_keys (
  user_id integer not null references users (id),
  key text not null check (length(key) between 1 and 200),
  -- SHA-256 of what was asked
  fingerprint blob not null check (length(fingerprint) = 32),
  answer text not null check (json_valid(answer)),
  created_at integer not null,
  primary key (user_id, key)
) strict, without rowid;
create index idempotency_keys_by_age on idempotency_keys (created_at);

-- in which events somebody ever took part
create index event_history_by_person on event_history (subject, event_id) where subject is not null;
