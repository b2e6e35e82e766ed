//! The operator's exclusion rules, applied again to what is already in the queue.

use std::sync::Arc;

use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::config::{Config, ExclusionRule};
use crate::store::db::Db;
use crate::store::fleet;
use crate::store::queue;

const RECORDINGS_PER_UNIT: i64 = 500;

/// Applies the rules to every recording that is not archived, if they are not those that were applied last.
pub async fn apply_rules(config: &Config, db: &Db, now: Timestamp) -> anyhow::Result<()> {
    let rules = Arc::new(config.exclude.clone());
    let hash = Digest::of(format!("{rules:?}")).to_string();
    for pbx in &config.pbx {
        // Kept for each PBX: one that was out of the configuration meanwhile is judged when it is back.
        let key = format!("exclusions/{}", pbx.id);
        if fleet::meta(&mut *db.read().await?, &key).await?.as_ref() == Some(&hash) {
            continue;
        }
        let mut after = 0;
        while let Some(last) = judge_some(db, &pbx.id, rules.clone(), after, now).await? {
            after = last;
        }
        let hash = hash.clone();
        db.write(async move |tx| fleet::set_meta(tx, &key, &hash).await).await?;
    }
    Ok(())
}

async fn judge_some(
    db: &Db,
    pbx: &str,
    rules: Arc<Vec<crate::config::ExclusionRule>>,
    after: i64,
    now: Timestamp,
) -> anyhow::Result<Option<i64>> {
    let pbx = pbx.to_owned();
    db.write(async move |tx| {
        let some = queue::concerned_by_rules(tx, &pbx, after, RECORDINGS_PER_UNIT, !rules.is_empty()).await?;
        for id in &some {
            super::page::judge_exclusion(tx, &rules, &pbx, *id, now).await?;
        }
        Ok(some.last().copied())
    })
    .await
}

/// The rules that concern `pbx`.
pub fn rules_of(config: &Config, pbx: &str) -> Arc<Vec<ExclusionRule>> {
    let concerns = |rule: &&ExclusionRule| rule.pbx.is_empty() || rule.pbx.iter().any(|id| id == pbx);
    Arc::new(config.exclude.iter().filter(concerns).cloned().collect())
}
