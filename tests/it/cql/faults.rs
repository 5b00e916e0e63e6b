//! Servers that write and do not answer, and majorities that are lost.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use scylla::{
    errors::TranslationError,
    policies::address_translator::{AddressTranslator, UntranslatedPeer},
};
use timingle::{
    adapters::cql_log::Tuning,
    domain::chain::Tip,
    ports::{AppendError, RoomLog},
};

use super::{connected, open, shared};
use crate::{
    harness::{
        proxy::{Proxy, Way},
        soon, until,
    },
    log_contract::{append_all, filled, sealed},
};

/// Leads every connection to one address: the driver knows where servers really are.
struct Through(SocketAddr);

#[async_trait]
impl AddressTranslator for Through {
    async fn translate_address(&self, _: &UntranslatedPeer) -> Result<SocketAddr, TranslationError> {
        Ok(self.0)
    }
}

/// A log whose every request goes through `proxy`, and is given half a second.
async fn through(proxy: &Proxy) -> timingle::adapters::cql_log::CqlLog {
    let mut config = shared().await;
    config.hosts = vec![proxy.address().to_string()];
    config.append_timeout = Duration::from_millis(500);
    config.read_timeout = Duration::from_millis(500);
    let tuning = Tuning {
        addresses: Some(Arc::new(Through(proxy.address()))),
        ..Tuning::default()
    };
    open(&config, tuning).await
}

#[tokio::test]
async fn write_without_an_answer_is_found_and_not_doubled() {
    let proxy = Proxy::to(shared().await.hosts[0].parse().unwrap()).await;
    let (log, direct) = (
        Arc::new(through(&proxy).await),
        connected(Tuning::default()).await,
    );
    for reset in [false, true] {
        let (room, _, mut tip) = filled(&*log, 2).await;
        let before = tip.head;
        let entries = sealed(&mut tip, 2);
        proxy.stall_one_way(Way::Answers);
        let append = {
            let (log, entries) = (Arc::clone(&log), Arc::clone(&entries));
            tokio::spawn(async move { log.append(room, before, entries).await })
        };
        // The server has done what nobody heard of.
        until("a write", || async {
            let seen = direct.tip(room).await.unwrap();
            (seen == tip).then_some(())
        })
        .await;
        let told = soon("an answer", append).await.unwrap();
        assert!(matches!(told, Err(AppendError::InDoubt(_))), "{told:?}");

        // Others go on behind it meanwhile.
        let mut other = tip;
        let more = sealed(&mut other, 1);
        append_all(&direct, room, tip.head, &more).await.unwrap();

        if reset {
            proxy.drop_connections();
        }
        proxy.heal();
        let again = until("the same call's answer", || async {
            match log.append(room, before, Arc::clone(&entries)).await {
                Err(AppendError::InDoubt(_)) => None,
                told => Some(told),
            }
        })
        .await;
        let again = again.unwrap();
        assert_eq!((again.head, again.taken), (tip.head, 2));
        let mut checked = Tip::empty(room);
        for entry in direct.read(room, 1, 100).await.unwrap() {
            checked.follow(&entry).unwrap();
        }
        assert_eq!(checked, other, "once, and nothing lost");
    }
    let doubts = log.doubts();
    assert!(doubts.unanswered >= 2, "{doubts:?}");
}

#[tokio::test]
async fn answer_that_comes_in_time_for_a_later_try_ends_the_call_well() {
    let proxy = Proxy::to(shared().await.hosts[0].parse().unwrap()).await;
    let log = Arc::new(through(&proxy).await);
    let (room, _, mut tip) = filled(&*log, 2).await;
    let before = tip.head;
    let entries = sealed(&mut tip, 1);
    proxy.stall_one_way(Way::Answers);
    let append = {
        let log = Arc::clone(&log);
        tokio::spawn(async move { log.append(room, before, entries).await })
    };
    until("a doubt", || async {
        (log.doubts().unanswered > 0).then_some(())
    })
    .await;
    proxy.heal();
    let told = soon("an answer", append).await.unwrap().unwrap();
    assert_eq!((told.head, told.taken), (tip.head, 1));
}
