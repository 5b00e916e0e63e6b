drop table invites;
drop table event_history;
drop table participants;
drop table events;
drop table refresh_tokens;
drop table sessions;
drop table users;
