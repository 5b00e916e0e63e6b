# Apache Cassandra, from its jars on Maven Central; sourced by servers. Nodes 1, 2, ... listen on 127.0.0.1,
# 127.0.0.2, ... (all of 127/8 is loopback on Linux), all on one port, and talk on the one after it.
# Where ScyllaDB cannot be had, this is the real server that speaks its language.

cassandra_stop_signal() { echo TERM; }

cassandra_require() {
    jars=$cache/jars
    if ! java_home >/dev/null; then
        once packages install_packages openjdk-17-jre-headless ||
            fail "Java 17 is needed: install openjdk-17-jre-headless"
    fi
    once jars cassandra_install
}

# Cassandra 5.0 runs on 11 and 17, and the options here are 17's.
java_home() {
    local java
    for java in "${JAVA_HOME:-/none}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*17*/bin/java; do
        if [ -x "$java" ] && "$java" -version 2>&1 | grep -q 'version "17\.'; then
            dirname "$(dirname "$(readlink -f "$java")")"
            return
        fi
    done
    return 1
}

# The jars that pom.xml names; once, until it changes. The mark comes last, so half a folder is fetched again.
cassandra_install() {
    ! cmp -s "$here/cassandra/pom.xml" "$jars/installed.xml" || return 0
    once packages require_programs mvn:maven
    rm -rf "$jars"
    mkdir -p "$jars"
    local said
    if ! said=$(JAVA_HOME=$(java_home) timeout 600 mvn --quiet --batch-mode --file "$here/cassandra/pom.xml" \
        dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars" 2>&1); then
        echo "$said"
        fail "Cassandra's jars cannot be fetched from Maven Central into $jars: is there a network?"
    fi
    cp "$here/cassandra/pom.xml" "$jars/installed.xml"
}

cassandra_launch() {
    local home conf seeds token
    home=$(home_of cassandra "$1")
    conf=$home/conf
    mkdir -p "$conf"
    # Every node is a seed, so none waits for another at its first start.
    seeds=$(for n in $(seq 1 "$nodes"); do echo "$(address_of "$n"):$((port + 1))"; done | paste -sd,)
    # The ring in equal parts: 2^64 tokens from -2^63 on.
    token=$(awk -v part="$(($1 - 1))" -v of="$nodes" 'BEGIN { printf "%.0f", -9223372036854774784 + part * (18446744073709549568 / of) }')
    sed -e "s|@TOKEN@|$token|" -e "s|@SEEDS@|$seeds|" -e "s|@ADDRESS@|$(address_of "$1")|" \
        -e "s|@PORT@|$port|" -e "s|@STORAGE_PORT@|$((port + 1))|" -e "s|@DATA@|$home/data|" \
        "$here/cassandra/cassandra.yaml" >"$conf/cassandra.yaml"
    cp "$here/cassandra/logback.xml" "$conf/"
    spawn cassandra "$1" "$(java_home)/bin/java" -Xms"$heap" -Xmx"$heap" \
        -javaagent:"$(echo "$jars"/jamm-*.jar)" @"$here/cassandra/jvm.options" \
        -Djava.io.tmpdir="$home/data" -Dcassandra.config="file://$conf/cassandra.yaml" \
        -Dcassandra.storagedir="$home/data" -Dcassandra.logdir="$home/data" \
        -Dlogback.configurationFile="$conf/logback.xml" \
        -cp "$conf:$jars/*" org.apache.cassandra.service.CassandraDaemon
}

# Serves CQL, and every other node that runs is in its sight: without that the first quorum fails.
cassandra_answers() {
    local other
    # An OPTIONS frame of protocol 4; the fifth byte of the answer says SUPPORTED.
    [ "$(ask "$(address_of "$1")" "$port" '\x04\0\0\0\x05\0\0\0\0' 5 | od -An -tx1 | tr -d ' \n')" = 8400000006 ] ||
        return 1
    for other in $(seq 1 "$nodes"); do
        if [ "$other" != "$1" ] && runs cassandra "$other" && ! paused cassandra "$other"; then
            cassandra_sees "$1" "$other" || return 1
        fi
    done
}

# The last thing that the log of node $1 says about node $2.
cassandra_sees() {
    grep -aoE "/127[0-9.]*:[0-9]+ is now (UP|DOWN)" "$(home_of cassandra "$1")/log" |
        grep -F "/$(address_of "$2"):" | tail -n1 | grep -q 'UP$'
}
