# 사람이 읽는 모든 글. 해요체로, 무엇을 하면 되는지 알려 줘요.
# JOSA(말, "받침 뒤/받침 없이")는 앞말의 끝소리에 맞는 조사를 골라요.

## 오류: 이름은 src/error.rs의 코드예요.

# wait, wait_unit: 얼마 뒤에 다시 하면 되는지.
wait = { $wait_unit ->
    [second] { $wait }초 뒤에
    [minute] { $wait }분 뒤에
    [hour] { $wait }시간 뒤에
   *[none] 잠시 뒤에
}

BAD_REQUEST = 요청을 이해하지 못했어요. 앱을 최신 버전으로 업데이트하고 다시 시도해 주세요.
VALIDATION_ERROR = 입력한 내용에 맞지 않는 곳이 있어요. 확인하고 다시 시도해 주세요.
BODY_TOO_LONG = 메시지가 너무 길어요. 여러 번에 나눠 보내 주세요.
AUTH_TOKEN_MISSING = 로그인이 필요해요. 로그인하고 다시 시도해 주세요.
AUTH_TOKEN_EXPIRED = 로그인이 만료됐어요. 다시 로그인해 주세요.
AUTH_TOKEN_INVALID = 로그인 정보를 확인할 수 없어요. 다시 로그인해 주세요.
AUTH_PHONE_CODE_INVALID = 인증번호가 맞지 않아요. 받은 번호를 다시 확인해 주세요.
AUTH_PHONE_CODE_EXPIRED = 이 인증번호는 더 이상 쓸 수 없어요. 새 인증번호를 받아 주세요.
AUTH_PROOF_REQUIRED = 전화번호 인증이 필요해요. 인증번호로 로그인해 주세요. 인증번호를 입력하는 곳이 없으면 앱을 최신 버전으로 업데이트해 주세요.
FORBIDDEN = 이 일을 할 권한이 없어요. 약속을 만든 분에게 부탁해 주세요.
NOT_FOUND = 찾는 것이 여기에 없어요. 주소를 확인해 주세요.
METHOD_NOT_ALLOWED = 이 주소에서는 할 수 없는 요청이에요. 앱을 최신 버전으로 업데이트해 주세요.
EVENT_NOT_FOUND = 약속을 찾을 수 없어요. 참여하고 있는 약속인지 확인해 주세요.
USER_NOT_FOUND = 사용자를 찾을 수 없어요. 상대를 다시 확인해 주세요.
INVITE_INVALID = 이 초대 링크는 쓸 수 없어요. 초대한 분에게 새 링크를 받아 주세요.
EVENT_STATE = { $status ->
    [PROPOSED] 아직 확정되지 않은 약속이라 할 수 없어요. 확정된 뒤에 다시 시도해 주세요.
    [CONFIRMED] 이미 확정된 약속이라 할 수 없어요. 약속을 새로고침해 주세요.
    [CANCELED] 취소된 약속이라 할 수 없어요. 새 약속을 만들어 주세요.
    [DONE] 이미 끝난 약속이라 할 수 없어요. 새 약속을 만들어 주세요.
   *[other] 약속의 지금 상태에서는 할 수 없어요. 약속을 새로고침해 주세요.
}
EVENT_FULL = 자리가 모두 찼어요. 약속을 만든 분에게 문의해 주세요.
PRECONDITION_FAILED = 그사이 약속이 바뀌었어요. 바뀐 내용을 보고 다시 시도해 주세요.
IDEMPOTENCY_KEY_REUSED = 같은 키로 다른 요청을 보냈어요. 새 키로 다시 보내 주세요.
GOOGLE_NOT_CONFIGURED = 이 서버에서는 Google 로그인을 쓸 수 없어요. 전화번호로 로그인해 주세요.
CALENDAR_NOT_LINKED = 연결된 캘린더가 없어요. 이 서버에서는 Google 캘린더를 연결할 수 없어요.
NOT_JOINED = 아직 이 대화방에 들어가지 않았어요. 대화방을 열고 다시 시도해 주세요.
KEY_CONFLICT = 같은 키로 다른 메시지가 이미 등록됐어요. 새 메시지로 다시 보내 주세요.
KEY_EXPIRED = 이 메시지가 전에 전송됐는지 확인할 수 없어요. 대화를 보고, 없으면 다시 써서 보내 주세요.
POSITION_UNKNOWN = 서버에 없는 위치부터 이어 보려고 했어요. 대화방을 다시 열어 주세요.
FRAME_TOO_BIG = 한 번에 보내기에는 너무 커요. 크기를 줄여서 보내 주세요.
RATE_LIMIT_EXCEEDED = 요청이 너무 많아요. { wait } 다시 시도해 주세요.
TOO_MANY_SOCKETS = 동시에 연결된 기기가 너무 많아요. 다른 기기에서 앱을 닫고 다시 시도해 주세요.
UNAVAILABLE = 지금은 처리할 수 없어요. { wait } 다시 시도해 주세요.
INTERNAL_ERROR = 서버에 문제가 생겼어요. { wait } 다시 시도해 주세요.

event-host-only = 약속을 만든 사람만 할 수 있어요. 그분에게 부탁해 주세요.
event-host-stays = 약속을 만든 사람은 나가거나 불참할 수 없어요. 대신 약속을 취소할 수 있어요.
event-over = 이미 지난 약속이에요. 새 약속을 만들어 주세요.
event-not-begun = 아직 시작하지 않은 약속이에요. 시작한 뒤에 다시 시도해 주세요.
event-missing = 아직 { $needed }명이 더 참석한다고 해야 확정할 수 있어요. 답을 기다리거나 물어봐 주세요.
event-no-changes-left = 확정된 뒤에 시간과 장소를 바꿀 수 있는 횟수({ $limit }번)를 다 썼어요. 약속을 취소하고 새로 만들어 주세요.
event-limit-stands = 한 번 확정된 약속의 변경 횟수 제한은 바꿀 수 없어요.
message-blank = 빈 메시지는 보낼 수 없어요. 내용을 입력해 주세요.
message-too-long = 메시지가 너무 길어요. 한 번에 { $max_chars }자까지 보낼 수 있어요.
phone-invalid = 올바른 전화번호가 아니에요. 010-1234-5678처럼 입력해 주세요.
name-invalid = 쓸 수 없는 이름이에요. 한 줄에 1자에서 100자까지로 지어 주세요.
phone-unknown = 이 전화번호로 가입한 사람이 없어요. 번호를 확인하거나 먼저 가입해 주세요.
admins-only = 서비스를 운영하는 사람만 할 수 있는 일이에요. 운영하는 곳에 문의해 주세요.
admin-untouchable = 이 계정은 바꿀 권한이 없어요. 최고 관리자에게 문의해 주세요.
account-not-active = 지금은 쓸 수 없는 계정이에요. 서비스를 운영하는 곳에 문의해 주세요.
room-closed = 끝난 지 오래된 약속이라 더는 메시지를 보낼 수 없어요. 지난 대화는 계속 볼 수 있어요.
participant-gone = 더 이상 이 약속에 참여하지 않아요. 다시 참여하려면 초대 링크를 받아 주세요.
invite-not-yours = 이런 초대 링크를 찾을 수 없어요. 만든 약속의 링크인지 확인해 주세요.
invite-too-many-links = 쓸 수 있는 초대 링크가 벌써 { $limit }개예요. 쓰지 않는 링크를 끄고 다시 시도해 주세요.
invite-not-acquainted = 함께 약속에 참여한 적이 있는 사람만 바로 추가할 수 있어요. 다른 분께는 초대 링크를 보내 주세요.
reply-to-unknown = 답장하려는 메시지를 찾을 수 없어요. 답장 없이 보내 주세요.
too-many-rooms = 한 번에 열 수 있는 대화방은 { $limit }개까지예요. 다른 대화방을 닫고 다시 시도해 주세요.
token-of-other-user = 다른 사람의 로그인으로는 이어 쓸 수 없어요. 연결을 끊고 다시 연결해 주세요.
subprotocol-unknown = 서버가 모르는 연결 방식이에요. 앱을 최신 버전으로 업데이트해 주세요.
origin-not-allowed = 이 사이트에서는 연결할 수 없어요. 공식 앱이나 사이트에서 이용해 주세요.

## 사실: 대화 안에 보이는 알림. 이름은 src/domain/fact.rs의 변화예요.

person = { $name }님
person-unknown = 알 수 없는 사용자
field-title = 제목
field-description = 설명
field-location = 장소
field-time = 시간
field-other = 그 밖의 내용

fact-restored = 서버를 예전 백업으로 되돌렸어요. 약속은 지금 보이는 대로예요.
fact-event_created = { $actor }{ JOSA($actor, "이/가") } ‘{ $title }’ 약속을 만들었어요.
fact-event_updated = { $what ->
    [title] { $actor }{ JOSA($actor, "이/가") } 제목을 ‘{ $value }’{ JOSA($value, "으로/로") } 바꿨어요.
    [location] { $actor }{ JOSA($actor, "이/가") } 장소를 ‘{ $value }’{ JOSA($value, "으로/로") } 바꿨어요.
   *[fields] { $actor }{ JOSA($actor, "이/가") } 약속을 바꿨어요: { $fields }.
}{ $asks_again ->
    [yes] {" "}참석할지 다시 알려 주세요.
   *[no] {""}
}
fact-participant_added = { $by ->
    [server] { $user }{ JOSA($user, "이/가") } 약속에 추가됐어요.
   *[user] { $actor }{ JOSA($actor, "이/가") } { $user }{ JOSA($user, "을/를") } 약속에 추가했어요.
}
fact-participant_joined = { $user }{ JOSA($user, "이/가") } 들어왔어요.
fact-participant_left = { $user }{ JOSA($user, "이/가") } 나갔어요.
fact-participant_removed = { $by ->
    [server] { $user }{ JOSA($user, "이/가") } 약속에서 빠졌어요.
   *[user] { $actor }{ JOSA($actor, "이/가") } { $user }{ JOSA($user, "을/를") } 내보냈어요.
}
fact-accepted = { $user }{ JOSA($user, "이/가") } 참석하기로 했어요.{ $has_reason ->
    [yes] {" "}한마디: { $reason }
   *[no] {""}
}
fact-declined = { $user }{ JOSA($user, "은/는") } 참석하지 않기로 했어요.{ $has_reason ->
    [yes] {" "}이유: { $reason }
   *[no] {""}
}
fact-confirmed = 약속이 확정됐어요.
fact-unconfirmed = { $cause ->
    [withdrawn] 참석하기로 했던 사람이 빠져서 확정이 풀렸어요.
   *[changed] 약속이 바뀌어서 확정이 풀렸어요. 참석할지 다시 알려 주세요.
}
fact-canceled = { $by ->
    [server] 약속이 취소됐어요.
   *[user] { $actor }{ JOSA($actor, "이/가") } 약속을 취소했어요.
}{ $has_reason ->
    [yes] {" "}이유: { $reason }
   *[no] {""}
}
fact-done = 약속이 끝났어요.
fact-deadline_passed = { $count ->
    [0] 답할 수 있는 시간이 지났어요.
   *[other] { $more ->
        [0] 답할 수 있는 시간이 지났어요. 아직 참석한다고 하지 않은 사람: { $names }
       *[other] 답할 수 있는 시간이 지났어요. 아직 참석한다고 하지 않은 사람: { $names } 외 { $more }명
    }
}

## 버전 1의 소켓에서 그 사람에게만 보이는 알림.

message-unconfirmed = 메시지가 남았는지 확인하지 못했어요. 대화에 보이지 않으면 다시 보내 주세요.
message-refused = 메시지를 보내지 못했어요. { $reason }

## What was done, beside the answers that version 1's clients show.

did-cancel = 약속을 취소했어요.
did-update = 약속을 바꿨어요.
did-accept = 참석한다고 알렸어요.
did-decline = 참석하지 않는다고 알렸어요.
did-confirm = 약속을 확정했어요.
did-finish = 약속을 마쳤어요.
did-remove = 참여자를 약속에서 내보냈어요.
did-leave = 약속에서 나왔어요.
did-join = 약속에 참여했어요.
did-join-before = 이미 참여하고 있는 약속이에요.
did-add = 이 사람이 약속에 참여해요.
did-deactivate = 초대 링크를 껐어요. 이제 이 링크로는 참여할 수 없어요.
did-delete-account = 계정을 삭제했어요. 그동안 함께해 주셔서 고마워요.
did-end-sign-in = 그 기기에서 로그아웃했어요.
did-sign-out = 로그아웃했어요.

## 문자 메시지: EUC-KR로 90바이트가 넘으면 한 통에 들어가지 않아요. 인증번호가 맨 앞에 와요.

sms-code = { $code } timingle 인증번호예요. 다른 사람에게 알려 주지 마세요.

## 초대 페이지

language-name = 한국어
invite-heading = { $has_host ->
    [yes] { $host }{ JOSA($host, "이/가") } 약속에 초대했어요
   *[no] 약속에 초대받았어요
}
invite-preview = { $heading } · { $when }
invite-when = 언제
invite-when-line = { $first }, { $second }, { $zone }
invite-date = { $year }년 { $month }월 { $day }일 { $weekday ->
    [mon] 월요일
    [tue] 화요일
    [wed] 수요일
    [thu] 목요일
    [fri] 금요일
    [sat] 토요일
   *[sun] 일요일
}
invite-time = { $half ->
    [am] 오전
   *[pm] 오후
} { $hour }:{ $minute }
invite-time-range = { $from } ~ { $to }
invite-moment = { $date } { $time }
invite-from = { $moment }부터
invite-to = { $moment }까지
invite-zone = { $place ->
    [Seoul] 한국 시간
    [Tokyo] 일본 시간
    [Shanghai] 중국 시간
    [Hong_Kong] 홍콩 시간
    [Taipei] 대만 시간
    [Singapore] 싱가포르 시간
    [Bangkok] 태국 시간
    [Ho_Chi_Minh] 베트남 시간
    [Sydney] 시드니 시간
    [London] 런던 시간
    [Paris] 파리 시간
    [Berlin] 베를린 시간
    [New_York] 뉴욕 시간
    [Chicago] 시카고 시간
    [Los_Angeles] 로스앤젤레스 시간
    [Vancouver] 밴쿠버 시간
    [UTC] 협정 세계시
   *[other] { $city } 시간
} ({ $offset })
invite-yours = 내가 있는 곳의 시간으로는
invite-how = 참여하는 방법
invite-step-open = timingle을 열고 전화번호로 로그인해 주세요.
invite-step-code = 받은 링크나 아래 초대 코드로 참여해 주세요.
invite-step-answer = 대화방이 열리면 올 수 있는지 알려 주세요.
invite-code = 초대 코드
invite-copy = 복사
invite-copied = 복사했어요
invite-until = { $until }까지 쓸 수 있는 초대예요.
invite-without = timingle이 아직 없나요?
invite-without-text = 이 페이지에서 바로 참여할 수는 아직 없어요. 초대한 분에게 어디서 timingle을 받는지 물어보고, 이 페이지의 주소를 간직해 주세요.
invite-terminal = 터미널에서 참여하기
invite-about = timingle은 약속이 곧 대화방이 되는 메신저예요.
invite-closed = 이 초대 링크는 쓸 수 없어요
invite-closed-text = 기한이 지났거나 자리가 찼거나, 약속이 끝났을 수 있어요. 주소가 끝까지 복사됐는지 확인해 주세요. 그래도 열리지 않으면 초대한 분에게 새 링크를 받아 주세요.
invite-busy = 잠시만 기다려 주세요

## 터미널 클라이언트 (timingle chat)

chat-ask-phone = 전화번호를 입력해 주세요.
chat-ask-code = 문자로 받은 인증번호 6자리를 입력해 주세요.
chat-signed-in = { $name }님, 반가워요. /help를 입력하면 할 수 있는 일을 볼 수 있어요.
chat-online = 다시 연결됐어요.
chat-offline = 연결이 끊겼어요. { $seconds }초 안에 다시 연결해 볼게요.
chat-opened = —— { $title } (#{ $event }) · { $people } ——
chat-made = ‘{ $title }’ 약속을 만들었어요. 번호는 #{ $event }이고 한 시간 뒤에 시작해요.
chat-closed = 대화를 닫았어요. 약속에는 계속 참여하고 있어요.
chat-reset = 서버의 기록이 바뀌어서 대화를 처음부터 다시 보여 드려요.
chat-beginning = —— 여기가 대화의 시작이에요 ——
chat-erased = (지운 메시지예요)
chat-no-room = 열어 둔 대화가 없어요. /list로 약속을 보고 /open 번호로 열어 주세요.
chat-no-events = 아직 약속이 없어요. /new 제목으로 만들어 보세요.
chat-still-trying = 아직 보내지 못해서 계속 다시 보내고 있어요. ({ $message })
chat-not-sent = 보내지 못했어요: { $text }
    { $message }
chat-left = 약속에서 나왔어요.
chat-removed = 이 약속에 더 이상 참여하지 않아요.
chat-gone = 이 대화를 더 이상 볼 수 없어요.
chat-unknown = /{ $command }: 알 수 없거나 내용이 빠진 명령이에요. /help로 사용법을 볼 수 있어요.
chat-host = 만든 사람
chat-pending = 아직 답하지 않음
chat-accepted = 참석
chat-declined = 불참
chat-proposed = 확정 전
chat-confirmed = 확정
chat-canceled = 취소
chat-done = 끝남
chat-insecure = 주의: 이 주소는 암호화되지 않아요. 다른 사람이 대화를 엿볼 수 있으니 https 주소를 써 주세요.
chat-bad-server = { $server }: 서버 주소가 아니에요. http://localhost:8080처럼 입력해 주세요.
chat-unreachable = 서버에 연결할 수 없어요. 서버가 켜져 있는지 확인하고 다시 시도해 주세요.
chat-unreadable = 서버의 답을 이해하지 못했어요. 주소가 맞는지 확인해 주세요.
chat-ended-signed-out = 로그인이 끝났어요. 다시 실행해서 로그인해 주세요.
chat-ended-closed = 서버가 연결을 받지 않아요({ $code }). 새 버전인지 확인해 주세요.
chat-unsent = 보내지 못한 메시지가 있어요. 다시 연결해서 대화를 확인해 주세요.
chat-help = 그냥 입력하면 열어 둔 대화에 보내요. 명령은 이런 것들이 있어요.
    /new 제목      한 시간 뒤에 시작하는 약속을 만들어요
    /list          내 약속을 보여 줘요
    /open 번호     약속의 대화를 열어요
    /invite        초대 링크를 만들어요
    /join 링크     초대 링크로 참여해요
    /people        누가 참여하는지 보여 줘요
    /history       이전 대화를 보여 줘요
    /close         대화를 닫아요
    /leave         약속에서 나가요
    /accept 한마디 참석한다고 답해요
    /decline 이유  참석하지 않는다고 답해요
    /confirm       약속을 확정해요 (만든 사람만)
    /cancel 이유   약속을 취소해요
    /quit          끝내요
    //글           /로 시작하는 글을 보내요
