//! The subcommand: opens both installations, keeps servers off, copies, closes.

use anyhow::Context as _;

use super::{Copied, Place, Progress, copy};
use crate::{
    app::stores::Stores,
    config::{Config, Profile},
};

/// Copies the whole installation of the profile `from` to the engines of the profile `to`,
/// both as `config` describes them, and compares the two. `tell` hears how far it is.
///
/// # Errors
/// Something serves one of the two, an engine does not answer, the target holds something
/// else, or the two differ at the end. Called again it goes on where it was.
pub async fn copy_installation(
    config: &Config,
    from: Profile,
    to: Profile,
    tell: &(dyn Fn(Progress) + Sync),
) -> anyhow::Result<Copied> {
    anyhow::ensure!(from != to, "source and target are the same installation");
    if from == Profile::Embedded {
        let dir = &config.data.dir;
        anyhow::ensure!(
            dir.join("app.db").exists(),
            "{} holds no timingle data (data.dir says where to look)",
            dir.display()
        );
    }
    let source = Stores::open(config, from)
        .await
        .context("the source cannot be used")?;
    let target = Stores::open(config, to)
        .await
        .context("the target cannot be used")?;
    let copied = between(&source, &target, tell).await;
    source.close().await;
    target.close().await;
    copied
}

async fn between(
    source: &Stores,
    target: &Stores,
    tell: &(dyn Fn(Progress) + Sync),
) -> anyhow::Result<Copied> {
    source.ensure_idle().await.context("the source is being served")?;
    target.ensure_idle().await.context("the target is being served")?;
    let copied = copy(&place(source), &place(target), tell).await?;
    anyhow::ensure!(copied.rows > 0, "the source is empty: there was nothing to copy");
    let meanwhile = "somebody served it meanwhile, the copy may lack what was changed";
    source.ensure_idle().await.context(meanwhile)?;
    target.ensure_idle().await.context(meanwhile)?;
    Ok(copied)
}

fn place(stores: &Stores) -> Place {
    Place {
        sql: stores.sql.clone(),
        log: stores.log.clone(),
    }
}
