# Every text a person reads, in plain English that says what to do next.

## Errors, named after the codes in src/error.rs.

# wait, wait_unit: when to try again.
wait = { $wait_unit ->
    [second] { $wait ->
        [one] in { $wait } second
       *[other] in { $wait } seconds
    }
    [minute] { $wait ->
        [one] in { $wait } minute
       *[other] in { $wait } minutes
    }
    [hour] { $wait ->
        [one] in { $wait } hour
       *[other] in { $wait } hours
    }
   *[none] in a moment
}

BAD_REQUEST = We could not read this request. Update the app and try again.
VALIDATION_ERROR = Something you entered is not right. Check it and try again.
BODY_TOO_LONG = This message is too long. Send it in parts.
AUTH_TOKEN_MISSING = You are not signed in. Sign in and try again.
AUTH_TOKEN_EXPIRED = Your sign-in has expired. Sign in again.
AUTH_TOKEN_INVALID = We could not confirm your sign-in. Sign in again.
AUTH_PHONE_CODE_INVALID = This code is not right. Check the code you received.
AUTH_PHONE_CODE_EXPIRED = This code can no longer be used. Ask for a new one.
AUTH_PROOF_REQUIRED = Your phone number has to be confirmed first. Sign in with a code; if the app has no place to enter one, update it.
FORBIDDEN = You are not allowed to do this. Ask the person who made the appointment.
NOT_FOUND = There is nothing here. Check the address.
METHOD_NOT_ALLOWED = This address does not take such a request. Update the app.
EVENT_NOT_FOUND = We could not find this appointment. Check that you take part in it.
USER_NOT_FOUND = We could not find this person. Check whom you mean.
INVITE_INVALID = This invite link cannot be used. Ask for a new one.
EVENT_STATE = { $status ->
    [PROPOSED] This appointment is not confirmed yet. Try again once it is.
    [CONFIRMED] This appointment is already confirmed. Reload it.
    [CANCELED] This appointment was canceled. Make a new one.
    [DONE] This appointment is over. Make a new one.
   *[other] The appointment's present state does not allow this. Reload it.
}
EVENT_FULL = There is no place left. Ask the person who made the appointment.
PRECONDITION_FAILED = The appointment changed in the meantime. Look at what changed, then try again.
IDEMPOTENCY_KEY_REUSED = The same key was used for another request. Send this one with a new key.
GOOGLE_NOT_CONFIGURED = This server does not offer sign-in with Google. Sign in with your phone number.
CALENDAR_NOT_LINKED = No calendar is linked. This server does not offer to link a Google calendar.
NOT_JOINED = You have not opened this conversation yet. Open it and try again.
KEY_CONFLICT = Another message was already sent with this key. Send yours as a new message.
KEY_EXPIRED = We cannot tell whether this message was sent before. Look at the conversation, and write it again if it is not there.
POSITION_UNKNOWN = You asked for a place that the server does not have. Open the conversation again.
FRAME_TOO_BIG = This is too big to send at once. Make it smaller.
RATE_LIMIT_EXCEEDED = That was too much at once. Try again { wait }.
TOO_MANY_SOCKETS = You are connected on too many devices. Close the app on another one and try again.
UNAVAILABLE = We cannot do this right now. Try again { wait }.
INTERNAL_ERROR = Something went wrong on our side. Try again { wait }.

event-host-only = Only the person who made the appointment can do this. Ask them.
event-host-stays = You made this appointment, so you cannot leave or decline it. You can cancel it instead.
event-over = This appointment is over. Make a new one.
event-not-begun = This appointment has not begun. Try again once it has.
event-missing = { $needed ->
    [one] One more person has to accept before this can be confirmed. Wait for the answer, or ask.
   *[other] { $needed } more people have to accept before this can be confirmed. Wait for their answers, or ask them.
}
event-no-changes-left = { $limit ->
    [0] Time and place of this appointment cannot be changed once it was confirmed. Cancel it and make a new one.
    [one] The time or place of this appointment was changed once already, which is all it allows. Cancel it and make a new one.
   *[other] The time or place of this appointment was changed { $limit } times already, which is all it allows. Cancel it and make a new one.
}
event-limit-stands = Once an appointment was confirmed, its limit of changes stands.
message-blank = An empty message cannot be sent. Write something.
message-too-long = This message is too long. You can send up to { $max_chars } characters at once.
phone-invalid = This is not a valid phone number. Write it like +82 10-1234-5678.
name-invalid = This name cannot be used. Choose one of 1 to 100 characters on one line.
phone-unknown = Nobody has signed up with this phone number. Check it, or sign up first.
admins-only = Only those who run this service can do that. Please contact them.
admin-untouchable = You may not change this account. Ask a super administrator.
account-not-active = This account cannot be used at the moment. Ask whoever runs this service.
room-closed = This appointment ended some time ago, and its conversation is closed. You can still read it.
participant-gone = You no longer take part in this appointment. Ask for an invite link to come back.
invite-not-yours = We could not find this invite link. Check that it belongs to an appointment you made.
invite-too-many-links = { $limit } invite links of this appointment can be used already. Switch off one that you no longer need, then try again.
invite-not-acquainted = You can add only people with whom you have shared an appointment. Send everyone else an invite link.
reply-to-unknown = The message you are answering cannot be found. Send yours without it.
too-many-rooms = You can have { $limit } conversations open at once. Close another one and try again.
token-of-other-user = This connection belongs to someone else's sign-in. Disconnect and connect again.
subprotocol-unknown = The server does not know this kind of connection. Update the app.
origin-not-allowed = You cannot connect from this site. Use the official app or site.

## Facts, as they stand in the conversation; named after the changes in src/domain/fact.rs.

person = { $name }
person-unknown = someone
field-title = title
field-description = description
field-location = place
field-time = time
field-other = other details

fact-restored = The server was restored from an older backup. The appointment is as it is shown now.
fact-event_created = { $actor } made the appointment “{ $title }”.
fact-event_updated = { $what ->
    [title] { $actor } changed the title to “{ $value }”.
    [location] { $actor } changed the place to “{ $value }”.
   *[fields] { $actor } changed the appointment: { $fields }.
}{ $asks_again ->
    [yes] {" "}Please answer again.
   *[no] {""}
}
fact-participant_added = { $by ->
    [server] { $user } was added to the appointment.
   *[user] { $actor } added { $user } to the appointment.
}
fact-participant_joined = { $user } joined.
fact-participant_left = { $user } left.
fact-participant_removed = { $by ->
    [server] { $user } was removed from the appointment.
   *[user] { $actor } removed { $user } from the appointment.
}
fact-accepted = { $user } is coming.{ $has_reason ->
    [yes] {" "}Note: { $reason }
   *[no] {""}
}
fact-declined = { $user } is not coming.{ $has_reason ->
    [yes] {" "}Reason: { $reason }
   *[no] {""}
}
fact-confirmed = The appointment is confirmed.
fact-unconfirmed = { $cause ->
    [withdrawn] Somebody who was coming is not, so the appointment is no longer confirmed.
   *[changed] The appointment changed, so it is no longer confirmed. Please answer again.
}
fact-canceled = { $by ->
    [server] The appointment was canceled.
   *[user] { $actor } canceled the appointment.
}{ $has_reason ->
    [yes] {" "}Reason: { $reason }
   *[no] {""}
}
fact-done = The appointment is over.
fact-deadline_passed = { $count ->
    [0] The time to answer is over.
   *[other] { $more ->
        [0] The time to answer is over. Still missing: { $names }
        [one] The time to answer is over. Still missing: { $names } and one more
       *[other] The time to answer is over. Still missing: { $names } and { $more } more
    }
}

## Notes that version 1's sockets show to one person alone.

message-unconfirmed = We could not confirm that your message was saved. If you do not see it here, send it again.
message-refused = Your message was not sent. { $reason }

## What was done, beside the answers that version 1's clients show.

did-cancel = The appointment is canceled.
did-update = The appointment is changed.
did-accept = You are coming.
did-decline = You are not coming.
did-confirm = The appointment is confirmed.
did-finish = The appointment is over.
did-remove = This person no longer takes part.
did-leave = You no longer take part.
did-join = You take part in the appointment.
did-join-before = You take part in this appointment already.
did-add = This person takes part in the appointment.
did-deactivate = The invite link is switched off. Nobody can join by it any more.
did-delete-account = Your account has been deleted. Thank you for having been here.
did-end-sign-in = That device has been signed out.
did-sign-out = You are signed out.

## Text messages: above 90 bytes in EUC-KR it takes two. The code comes first.

sms-code = { $code } is your timingle code. Don't share it with anyone.

## The invite page

language-name = English
invite-heading = { $has_host ->
    [yes] { $host } invites you
   *[no] You are invited
}
invite-preview = { $heading } · { $when }
invite-when = When
invite-when-line = { $first }, { $second }, { $zone }
invite-date = { $weekday ->
    [mon] Monday
    [tue] Tuesday
    [wed] Wednesday
    [thu] Thursday
    [fri] Friday
    [sat] Saturday
   *[sun] Sunday
}, { $month ->
    [1] January
    [2] February
    [3] March
    [4] April
    [5] May
    [6] June
    [7] July
    [8] August
    [9] September
    [10] October
    [11] November
   *[12] December
} { $day }, { $year }
invite-time = { $hour }:{ $minute } { $half ->
    [am] AM
   *[pm] PM
}
invite-time-range = { $from } – { $to }
invite-moment = { $date } at { $time }
invite-from = From { $moment }
invite-to = until { $moment }
invite-zone = { $place ->
    [Seoul] Korea time
    [Tokyo] Japan time
    [Shanghai] China time
    [Hong_Kong] Hong Kong time
    [Taipei] Taiwan time
    [Singapore] Singapore time
    [Bangkok] Thailand time
    [Ho_Chi_Minh] Vietnam time
    [Sydney] Sydney time
    [London] London time
    [Paris] Paris time
    [Berlin] Berlin time
    [New_York] New York time
    [Chicago] Chicago time
    [Los_Angeles] Los Angeles time
    [Vancouver] Vancouver time
    [UTC] UTC
   *[other] { $city } time
} ({ $offset })
invite-yours = Your time
invite-how = How to join
invite-step-open = Open timingle and sign in with your phone number.
invite-step-code = Join with the link you received, or with the code below.
invite-step-answer = The conversation opens. Say whether you are coming.
invite-code = Invite code
invite-copy = Copy
invite-copied = Copied
invite-until = This invitation can be used until { $until }.
invite-without = No timingle yet?
invite-without-text = You cannot join from this page itself yet. Ask the person who invited you where to get timingle, and keep this page’s address.
invite-terminal = Join from a terminal
invite-about = timingle is the messenger in which an appointment is a conversation.
invite-closed = This invite link cannot be used
invite-closed-text = It may have expired, have no place left, or lead to an appointment that is over. Check that you have the whole address. If you do, ask the person who invited you for a new link.
invite-busy = One moment, please

## The terminal client (timingle chat)

chat-ask-phone = Enter your phone number.
chat-ask-code = Enter the six-digit code you received.
chat-signed-in = Welcome, { $name }. Type /help to see what you can do.
chat-online = Connected again.
chat-offline = The connection is lost. { $seconds ->
    [one] Trying again within a second.
   *[other] Trying again within { $seconds } seconds.
}
chat-opened = —— { $title } (#{ $event }) · { $people } ——
chat-made = You made “{ $title }”, number #{ $event }. It starts in an hour.
chat-closed = Closed. You still take part in the appointment.
chat-reset = The server's record has changed; the conversation is shown anew.
chat-beginning = —— this is where the conversation begins ——
chat-erased = (erased)
chat-no-room = No conversation is open. Type /list to see your appointments and /open NUMBER to open one.
chat-no-events = You have no appointments yet. Make one with /new TITLE.
chat-still-trying = Not sent yet; trying again. ({ $message })
chat-not-sent = Not sent: { $text }
    { $message }
chat-left = You left the appointment.
chat-removed = You no longer take part in this appointment.
chat-gone = This conversation is not there any more.
chat-unknown = /{ $command }: there is no such command, or something is missing. Type /help.
chat-host = host
chat-pending = has not answered
chat-accepted = coming
chat-declined = not coming
chat-proposed = not confirmed
chat-confirmed = confirmed
chat-canceled = canceled
chat-done = over
chat-insecure = Careful: this address is not encrypted, and others may listen in. Use an https address.
chat-bad-server = { $server }: not the address of a server. Write it like http://localhost:8080.
chat-unreachable = The server cannot be reached. Check that it is running and try again.
chat-unreadable = The server's answer makes no sense. Check the address.
chat-ended-signed-out = You are signed out. Start again to sign in.
chat-ended-closed = The server does not take this connection ({ $code }). Check that this version is current.
chat-unsent = Some messages were not sent. Connect again and look at the conversation.
chat-help = What you type goes to the open conversation. Commands:
    /new TITLE     make an appointment that starts in an hour
    /list          show your appointments
    /open NUMBER   open an appointment's conversation
    /invite        make an invite link
    /join LINK     take part by an invite link
    /people        show who takes part
    /history       show what was said before
    /close         close the conversation
    /leave         leave the appointment
    /accept WORDS  say that you are coming
    /decline WHY   say that you are not coming
    /confirm       confirm the appointment (its maker only)
    /cancel REASON call the appointment off
    /quit          end
    //TEXT         send a text that begins with /
