//! The tables, in the common dialect; `migrations/` makes them.

diesel::table! {
    users (id) {
        id -> BigInt,
        phone -> Nullable<Text>,
        name -> Nullable<Text>,
        language -> Text,
        timezone -> Text,
        role -> Text,
        status -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        leaving -> Bool,
    }
}

diesel::table! {
    sessions (id) {
        id -> Uuid,
        user_id -> BigInt,
        created_at -> Timestamptz,
        last_used_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
        client -> Nullable<Text>,
        access_life -> Nullable<BigInt>,
    }
}

diesel::table! {
    refresh_tokens (hash) {
        hash -> Binary,
        session_id -> Uuid,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        replaced_by -> Nullable<Binary>,
        replaced_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    events (id) {
        id -> BigInt,
        room -> Uuid,
        title -> Text,
        description -> Nullable<Text>,
        location -> Nullable<Text>,
        start_time -> Timestamptz,
        end_time -> Timestamptz,
        timezone -> Text,
        status -> Text,
        creator_id -> BigInt,
        fact_no -> BigInt,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        quorum -> Nullable<BigInt>,
        confirm_by -> Nullable<Timestamptz>,
        on_deadline -> Text,
        change_limit -> Nullable<BigInt>,
        confirmed_at -> Nullable<Timestamptz>,
        was_confirmed -> Bool,
        changes_used -> BigInt,
        deadline_spent -> Bool,
        ended_at -> Nullable<Timestamptz>,
        due_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    participants (event_id, user_id) {
        event_id -> BigInt,
        user_id -> BigInt,
        role -> Text,
        answer -> Text,
        answered_at -> Nullable<Timestamptz>,
        joined_at -> Timestamptz,
        reason -> Nullable<Text>,
        read_seq -> BigInt,
        read_msg_no -> BigInt,
        read_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    event_history (event_id, fact_no) {
        event_id -> BigInt,
        fact_no -> BigInt,
        id -> Uuid,
        kind -> Text,
        actor -> Nullable<BigInt>,
        subject -> Nullable<BigInt>,
        at -> Timestamptz,
        payload -> Jsonb,
        seq -> Nullable<BigInt>,
    }
}

diesel::table! {
    invites (code) {
        code -> Text,
        event_id -> BigInt,
        created_by -> BigInt,
        fact_no -> BigInt,
        expires_at -> Nullable<Timestamptz>,
        max_uses -> BigInt,
        use_count -> BigInt,
        is_active -> Bool,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    idempotency_keys (user_id, key) {
        user_id -> BigInt,
        key -> Text,
        fingerprint -> Binary,
        answer -> Jsonb,
        created_at -> Timestamptz,
    }
}

diesel::joinable!(sessions -> users (user_id));
diesel::joinable!(refresh_tokens -> sessions (session_id));
diesel::joinable!(participants -> users (user_id));
diesel::joinable!(participants -> events (event_id));
diesel::joinable!(event_history -> events (event_id));
diesel::joinable!(invites -> events (event_id));
diesel::allow_tables_to_appear_in_same_query!(
    users,
    sessions,
    refresh_tokens,
    events,
    participants,
    event_history,
    invites,
    idempotency_keys,
);
