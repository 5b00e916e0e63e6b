# Redis, from Debian's package; sourced by servers. It keeps nothing, as what it holds may be lost.

redis_stop_signal() { echo TERM; }

redis_require() {
    command -v redis-server >/dev/null || once packages require_programs redis-server:redis-server
}

redis_launch() {
    local home
    home=$(home_of redis "$1")
    # With its own title it would no longer name its folder.
    spawn redis "$1" redis-server --bind 127.0.0.1 --port "$port" --dir "$home/data" \
        --save '' --appendonly no --set-proc-title no
}

redis_answers() {
    [ "$(ask 127.0.0.1 "$port" 'PING\r\n' 5)" = +PONG ]
}
