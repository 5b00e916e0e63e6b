//! Passwords, and encrypted connections.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use timingle::adapters::sql::{Sql, migrate::MigrateError};
use tokio_postgres::Client;

use super::{data, settings};
use crate::harness::{database::Database, servers::Private};

/// Writes `lines` where the server itself can: into a file of its data that is its alone.
async fn write(client: &Client, file: &str, lines: &str) {
    let lines = lines.replace('\'', "''");
    let copy = format!(
        "copy (select unnest(string_to_array(trim(e'\\n' from '{lines}'), e'\\n'))) \
         to program 'umask 077; cat > {file}'"
    );
    client.batch_execute(&copy).await.unwrap();
}

async fn reload(client: &Client) {
    client.batch_execute("select pg_reload_conf()").await.unwrap();
}

/// A certificate of its own, for who signs, in `dir`; and one that it signed for `name`.
fn certificates(dir: &Path, name: &str) -> (std::path::PathBuf, String, String) {
    let mut signs = CertificateParams::new(Vec::new()).unwrap();
    signs.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let signer_key = KeyPair::generate().unwrap();
    let signer = signs.self_signed(&signer_key).unwrap();
    let file = dir.join(format!("{name}.pem"));
    std::fs::write(&file, signer.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&key, &Issuer::new(signs, signer_key))
        .unwrap();
    (file, certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn connection_is_encrypted_to_the_server_that_was_meant_or_not_at_all() {
    let server = Private::postgres().await;
    let database = Database::on(server.address()).await;
    let client = database.connect().await;
    let dir = tempfile::tempdir().unwrap();
    let (ours, certificate, key) = certificates(dir.path(), "127.0.0.1");
    let (others, elsewhere, its_key) = certificates(dir.path(), "elsewhere.example");

    let mut plain = settings(server.address(), database.name());
    let with = |ca: &Path| {
        let mut settings = plain.clone();
        settings.tls = true;
        settings.tls_ca = ca.to_owned();
        Sql::postgres(&settings, &data(1))
    };
    // A server that cannot encrypt gets nothing from who wants it.
    let refused = with(&ours).unwrap().migrate().await;
    assert!(matches!(refused, Err(MigrateError::Connect(_))), "{refused:?}");

    write(&client, "server.crt", &certificate).await;
    write(&client, "server.key", &key).await;
    client.batch_execute("alter system set ssl = on").await.unwrap();
    reload(&client).await;
    let mut seen = Vec::new();
    for ca in [&ours, &others] {
        seen.push(with(ca).unwrap().migrate().await.is_ok());
    }
    assert_eq!(seen, [true, false], "only who trusts the signer connects");
    assert!(
        with(Path::new("")).unwrap().migrate().await.is_err(),
        "nobody public signed"
    );
    assert!(with(Path::new("/nowhere")).is_err());
    let sql = with(&ours).unwrap();
    sql.migrate().await.unwrap();
    sql.check().await.unwrap();
    let encrypted = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) \
                     where ssl and application_name = 'timingle'";
    let encrypted: i64 = client.query_one(encrypted, &[]).await.unwrap().get(0);
    assert_eq!(encrypted, 1);

    // Somebody else's server: its signer is trusted, and its name is another.
    write(&client, "server.crt", &elsewhere).await;
    write(&client, "server.key", &its_key).await;
    reload(&client).await;
    let refused = with(&others).unwrap().migrate().await;
    assert!(matches!(refused, Err(MigrateError::Connect(_))), "{refused:?}");
    plain.tls = false;
    Sql::postgres(&plain, &data(1)).unwrap().migrate().await.unwrap();
}

#[tokio::test]
async fn password_is_taken_as_it_is_and_a_wrong_one_is_not_shown() {
    let server = Private::postgres().await;
    let database = Database::on(server.address()).await;
    let client = database.connect().await;
    let password = r#"p'a"%40 s\s:/?#[]@=&비밀"#;
    let role = format!(
        "create role \"o'dd us=er\" login superuser password '{}'",
        password.replace('\'', "''")
    );
    client.batch_execute(&role).await.unwrap();
    let rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256";
    write(&client, "pg_hba.conf", rules).await;
    reload(&client).await;

    let mut settings = settings(server.address(), database.name());
    settings.user = "o'dd us=er".to_owned();
    settings.password = password.into();
    let sql = Sql::postgres(&settings, &data(1)).unwrap();
    sql.migrate().await.unwrap();
    sql.check().await.unwrap();

    settings.password = "wrong-password-1".into();
    let refused = Sql::postgres(&settings, &data(1)).unwrap().migrate().await;
    let Err(MigrateError::Connect(source)) = refused else {
        panic!("{refused:?}")
    };
    let text = format!("{source} {source:?}");
    assert!(text.contains("password authentication failed"), "{text}");
    assert!(!text.contains("wrong-password-1"), "{text}");
}
