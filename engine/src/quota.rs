//! Quotas: limits that clients set as znodes (`client-protocol` 4.7).
//!
//! A quota exists as long as its `zookeeper_limits` znode does. Its usage is exact: every znode
//! counts for the deepest quota above or at it, and for no other. The text of `zookeeper_stats` is
//! rewritten in place whenever the usage changes, without zxid, version or event. Nothing under
//! `/zookeeper` is ever counted, and the root cannot have a quota.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use model::{ErrorCode, path};

use crate::draft::Draft;
use crate::op::child_path;
use crate::state::{Tables, Version};
use crate::tree::TreeView;

/// Usage of one governed subtree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quota {
    /// Znodes in the subtree, its root included.
    pub count: i64,
    /// Bytes of data in the subtree.
    pub bytes: i64,
}

impl Quota {
    fn text(self) -> Vec<u8> {
        format!("count={},bytes={}", self.count, self.bytes).into_bytes()
    }

    fn add(&mut self, count: i64, bytes: i64) {
        self.count += count;
        self.bytes += bytes;
    }
}

type Quotas = OrdMap<Arc<[u8]>, Quota>;

/// The path that a limits znode governs; `/` for the one right under the quota tree.
pub(crate) fn limits_target(path: &[u8]) -> Option<&[u8]> {
    target(path, path::QUOTA_LIMITS)
}

fn target<'a>(path: &'a [u8], leaf: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(path::QUOTA)?;
    let rest = rest.strip_suffix(leaf)?.strip_suffix(b"/")?;
    match rest {
        [] => Some(b"/"),
        [b'/', ..] => Some(rest),
        _ => None,
    }
}

/// Whether a path can have a quota that this server keeps account of.
fn is_governable(target: &[u8]) -> bool {
    target != b"/" && !is_system(target)
}

fn is_system(path: &[u8]) -> bool {
    path.strip_prefix(path::SYSTEM).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

/// The deepest quota that governs a path.
fn deepest(quotas: &Quotas, path: &[u8]) -> Option<Arc<[u8]>> {
    if quotas.is_empty() {
        return None;
    }
    std::iter::once(path)
        .chain(path::ancestors(path))
        .find_map(|above| quotas.get_key_value(above).map(|(governed, _)| governed.clone()))
}

/// Refuses a change that would exceed a hard limit. Limits that cannot be read refuse everything.
pub(crate) fn check(draft: &Draft, path: &[u8], bytes: i64, count: i64) -> Result<(), ErrorCode> {
    if !draft.settings.enforce_quota {
        return Ok(());
    }
    let Some(governed) = deepest(&draft.tables.quotas, path) else { return Ok(()) };
    let Some(znode) = draft.tree.view().get(&leaf(&governed, path::QUOTA_LIMITS)) else {
        return Ok(());
    };
    let limits =
        Limits::parse(znode.data.unwrap_or_default()).ok_or(ErrorCode::MarshallingError)?;
    let used = draft.tables.quotas[&governed];
    let exceeds = |limit: i64, used: i64, more: i64| more != 0 && limit > -1 && used + more > limit;
    if exceeds(limits.count_hard, used.count, count)
        || exceeds(limits.bytes_hard, used.bytes, bytes)
    {
        return Err(ErrorCode::QuotaExceeded);
    }
    Ok(())
}

/// Accounts for a new znode, which may itself be part of a quota.
pub(crate) fn created(draft: &mut Draft, path: &[u8], bytes: i64) {
    if !is_system(path) {
        return charge(draft, path, 1, bytes);
    }
    if let Some(target) = limits_target(path).filter(|target| is_governable(target)) {
        install(draft, target);
    } else if let Some(target) = target(path, path::QUOTA_STATS)
        && is_governable(target)
    {
        let known = draft.tables.quotas.get(target).copied();
        let usage =
            known.unwrap_or_else(|| measure(draft.tree.view(), target, &draft.tables.quotas));
        write_stats(draft, target, usage);
    }
}

/// Accounts for a znode that is gone, which may itself have been part of a quota.
pub(crate) fn deleted(draft: &mut Draft, path: &[u8], bytes: i64) {
    if !is_system(path) {
        return charge(draft, path, -1, -bytes);
    }
    let Some(target) = limits_target(path) else { return };
    if let Some(usage) = draft.tables.quotas.remove(target) {
        // What it governed falls to the quota around it.
        charge(draft, target, usage.count, usage.bytes);
    }
}

/// Adds to the usage of the deepest quota of a path, and shows it.
pub(crate) fn charge(draft: &mut Draft, path: &[u8], count: i64, bytes: i64) {
    if (count, bytes) == (0, 0) {
        return;
    }
    let Some(governed) = deepest(&draft.tables.quotas, path) else { return };
    let usage = draft.tables.quotas.get_mut(&governed).expect("it was just found");
    usage.add(count, bytes);
    let usage = *usage;
    write_stats(draft, &governed, usage);
}

/// Starts a quota: what it governs is taken out of the quota around it.
fn install(draft: &mut Draft, target: &[u8]) {
    let usage = measure(draft.tree.view(), target, &draft.tables.quotas);
    charge(draft, target, -usage.count, -usage.bytes);
    draft.tables.quotas.insert(Arc::from(target), usage);
    write_stats(draft, target, usage);
}

/// Recomputes every quota from the limits znodes of a loaded tree.
pub(crate) fn rebuild(draft: &mut Draft, limits: &[Arc<[u8]>]) {
    let targets = limits.iter().filter_map(|path| limits_target(path));
    let quotas: Quotas = targets
        .filter(|target| is_governable(target))
        .map(|target| (Arc::<[u8]>::from(target), Quota::default()))
        .collect();
    draft.tables.quotas = quotas.clone();
    for target in quotas.keys() {
        let usage = measure(draft.tree.view(), target, &quotas);
        draft.tables.quotas.insert(target.clone(), usage);
        write_stats(draft, target, usage);
    }
}

/// Usage of a subtree without the quotas strictly inside it.
fn measure(view: TreeView<'_>, target: &[u8], quotas: &Quotas) -> Quota {
    let mut usage = Quota::default();
    let mut open = vec![target.to_vec()];
    while let Some(path) = open.pop() {
        let is_other = path != target && quotas.contains_key(path.as_slice());
        let Some(znode) = view.get(&path).filter(|_| !is_other) else { continue };
        usage.add(1, znode.data.map_or(0, <[u8]>::len) as i64);
        if znode.children > 0 {
            let names = view.children(&path).into_iter().flatten();
            open.extend(names.map(|name| child_path(&path, name)));
        }
    }
    usage
}

/// Shows a usage in the quota's stats znode, if there is one.
fn write_stats(draft: &mut Draft, governed: &[u8], usage: Quota) {
    let path = leaf(governed, path::QUOTA_STATS);
    let Some(old) = draft.tree.view().get(&path) else { return };
    let old = old.data.map_or(0, <[u8]>::len) as u64;
    let text = usage.text();
    draft.tree.update(&path, Some(Some(&text)), |_| {});
    let tables: &mut Tables = &mut draft.tables;
    tables.data_bytes = tables.data_bytes - old + text.len() as u64;
}

fn leaf(governed: &[u8], name: &[u8]) -> Vec<u8> {
    [path::QUOTA, governed, b"/", name].concat()
}

/// Quotas of one namespace (first path component), summed, for `mntr` (`client-protocol` 9.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NamespaceQuota {
    /// Limits on znodes, hard before soft; none if no quota has one.
    pub count_limit: Option<i64>,
    /// Limits on bytes.
    pub bytes_limit: Option<i64>,
    /// What the governed subtrees hold.
    pub usage: Quota,
}

/// All quotas by namespace.
pub fn by_namespace(version: &Version) -> BTreeMap<Vec<u8>, NamespaceQuota> {
    let mut all = BTreeMap::<Vec<u8>, NamespaceQuota>::new();
    for (governed, usage) in &version.tables().quotas {
        let Some(name) = governed.split(|byte| *byte == b'/').nth(1) else { continue };
        let sum = all.entry(name.to_vec()).or_default();
        sum.usage.add(usage.count, usage.bytes);
        let limits = version.view().get(&leaf(governed, path::QUOTA_LIMITS));
        let Some(limits) = limits.and_then(|znode| Limits::parse(znode.data.unwrap_or_default()))
        else {
            continue;
        };
        let add = |sum: &mut Option<i64>, hard: i64, soft: i64| {
            if let Some(limit) = [hard, soft].into_iter().find(|limit| *limit > -1) {
                *sum = Some(sum.unwrap_or(0).saturating_add(limit));
            }
        };
        add(&mut sum.count_limit, limits.count_hard, limits.count_soft);
        add(&mut sum.bytes_limit, limits.bytes_hard, limits.bytes_soft);
    }
    all
}

/// Limits as clients write them; -1 is none. Soft limits are never enforced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Limits {
    count_soft: i64,
    bytes_soft: i64,
    count_hard: i64,
    bytes_hard: i64,
}

impl Limits {
    /// Reads `key=value` pairs separated by commas or semicolons. A pair may end in a second `=`
    /// (the joint that lets old parsers stop there); an empty value is none.
    fn parse(text: &[u8]) -> Option<Limits> {
        let none = -1;
        let mut limits =
            Limits { count_soft: none, bytes_soft: none, count_hard: none, bytes_hard: none };
        let text = std::str::from_utf8(text).ok()?;
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let mut parts = pair.split('=');
            let (key, value) = (parts.next()?, parts.next()?);
            let value = if value.is_empty() { -1 } else { value.parse().ok()? };
            match key {
                "count" => limits.count_soft = value,
                "bytes" => limits.bytes_soft = value,
                "countHardLimit" => limits.count_hard = value,
                "byteHardLimit" => limits.bytes_hard = value,
                _ => {}
            }
        }
        Some(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_in_every_form_clients_write() {
        let limits = |count_soft, bytes_soft, count_hard, bytes_hard| {
            Some(Limits { count_soft, bytes_soft, count_hard, bytes_hard })
        };
        for (text, expect) in [
            ("", limits(-1, -1, -1, -1)),
            ("count=5,bytes=100", limits(5, 100, -1, -1)),
            ("count=5,bytes=100=;byteHardLimit=200;countHardLimit=10", limits(5, 100, 10, 200)),
            ("count=-1,bytes=-1=;byteHardLimit=;countHardLimit=-1", limits(-1, -1, -1, -1)),
            ("count", None),
            ("count=x", None),
            ("\u{fc}", None),
        ] {
            assert_eq!(Limits::parse(text.as_bytes()), expect, "{text}");
        }
    }

    #[test]
    fn a_limits_path_names_what_it_governs() {
        for (path, expect) in [
            ("/zookeeper/quota/a/b/zookeeper_limits", Some("/a/b")),
            ("/zookeeper/quota/zookeeper_limits", Some("/")),
            ("/zookeeper/quota/a/b", None),
            ("/zookeeper/quotas/a/zookeeper_limits", None),
            ("/a/zookeeper_limits", None),
            ("/zookeeper/quota/a/xzookeeper_limits", None),
        ] {
            assert_eq!(limits_target(path.as_bytes()), expect.map(str::as_bytes), "{path}");
        }
        assert!(is_governable(b"/zookeeperx"));
        assert!(!is_governable(b"/zookeeper"));
        assert!(!is_governable(b"/zookeeper/x"));
    }
}

#[cfg(test)]
mod stories {

    use crate::draft::Settings;
    use crate::op::tests::*;
    use model::op::Create;
    use model::{Op, Stat};

    fn with_data<'a>(path: &'a str, data: &'a str) -> Op<'a> {
        Op::Create(Create { data: Some(data.as_bytes()), ..record(path) })
    }

    /// A tree of three znodes with 5 bytes, and a quota on its root.
    fn governed(limits: &str, settings: Settings) -> Scene {
        let mut scene = Scene::with(settings);
        scene.ok(&with_data("/a", "123"));
        scene.make(&["/a/b", "/a/b/c", "/zookeeper/quota/a"]);
        scene.ok(&with_data("/zookeeper/quota/a/zookeeper_limits", limits));
        scene.ok(&with_data("/zookeeper/quota/a/zookeeper_stats", "count=-1,bytes=-1"));
        scene
    }

    fn stats(scene: &Scene, path: &str) -> String {
        scene.text(&format!("/zookeeper/quota{path}/zookeeper_stats"))
    }

    #[test]
    fn usage_follows_every_change_without_a_trace_in_the_stat() {
        let mut scene = governed("count=1,bytes=1", Settings::default());
        assert_eq!(stats(&scene, "/a"), "count=3,bytes=5");
        let before = scene.stat("/zookeeper/quota/a/zookeeper_stats");
        scene.ok(&with_data("/a/d", "12345"));
        assert_eq!((stats(&scene, "/a").as_str(), &*scene.events()), ("count=4,bytes=10", "+/a/d"));
        scene.ok(&set("/a/d", "1", -1));
        assert_eq!(stats(&scene, "/a"), "count=4,bytes=6");
        scene.ok(&delete("/a/d", -1));
        scene.ok(&with_data("/ab", "outside"));
        assert_eq!(stats(&scene, "/a"), "count=3,bytes=5");
        let after = scene.stat("/zookeeper/quota/a/zookeeper_stats");
        assert_eq!(Stat { data_length: before.data_length, ..after }, before);
        let failed = Op::Multi(vec![create("/a/x"), create("/a/x")]);
        scene.run(&failed);
        assert_eq!(stats(&scene, "/a"), "count=3,bytes=5");
    }

    #[test]
    fn an_inner_quota_takes_its_part_and_gives_it_back() {
        let mut scene = governed("count=9,bytes=9", Settings::default());
        scene.make(&["/zookeeper/quota/a/b", "/zookeeper/quota/a/b/zookeeper_stats"]);
        assert_eq!(stats(&scene, "/a/b"), "count=2,bytes=2", "measured even before it has limits");
        scene.make(&["/zookeeper/quota/a/b/zookeeper_limits"]);
        assert_eq!(
            (stats(&scene, "/a"), stats(&scene, "/a/b")),
            ("count=1,bytes=3".into(), "count=2,bytes=2".into())
        );
        scene.make(&["/a/b/d"]);
        assert_eq!(stats(&scene, "/a/b"), "count=3,bytes=3");
        scene.ok(&delete("/zookeeper/quota/a/b/zookeeper_limits", -1));
        assert_eq!(stats(&scene, "/a"), "count=4,bytes=6");
        scene.make(&["/a/b/e"]);
        assert_eq!(stats(&scene, "/a"), "count=5,bytes=7");
        assert_eq!(stats(&scene, "/a/b"), "count=3,bytes=3", "no longer kept");
    }

    #[test]
    fn namespaces_sum_their_quotas() {
        let text = "count=7,bytes=-1=;byteHardLimit=80;countHardLimit=4";
        let mut scene = governed(text, Settings::default());
        scene.make(&["/zookeeper/quota/a/b"]);
        scene.ok(&with_data("/zookeeper/quota/a/b/zookeeper_limits", "count=5,bytes=-1"));
        let all = crate::quota::by_namespace(&scene.draft.freeze());
        let usage = crate::quota::Quota { count: 3, bytes: 5 };
        let expect =
            crate::quota::NamespaceQuota { count_limit: Some(9), bytes_limit: Some(80), usage };
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [(b"a".to_vec(), expect)]);
    }

    #[test]
    fn only_hard_limits_refuse_and_only_if_enforced() {
        let text = "count=1,bytes=1=;byteHardLimit=8;countHardLimit=4";
        let mut lax = governed(text, Settings::default());
        lax.ok(&with_data("/a/d", "123456789"));

        let strict = Settings { enforce_quota: true, ..Settings::default() };
        let mut scene = governed(text, strict.clone());
        assert_eq!(scene.code(&with_data("/a/d", "1234")), -125, "bytes");
        scene.ok(&with_data("/a/d", "123"));
        assert_eq!(scene.code(&with_data("/a/e", "")), -125, "count");
        assert_eq!(scene.code(&set("/a/d", "1234", 7)), -125, "before the version");
        scene.ok(&set("/a/d", "1", -1));
        scene.ok(&with_data("/outside", "123456789"));
        scene.ok(&delete("/a/d", -1));

        let mut soft = governed("count=1,bytes=1", strict.clone());
        soft.ok(&with_data("/a/d", "123456789"));
        let mut broken = governed("count", strict);
        assert_eq!(broken.code(&create("/a/d")), -5);
        broken.ok(&delete("/zookeeper/quota/a/zookeeper_limits", -1));
        broken.ok(&create("/a/d"));
    }

    #[test]
    fn the_servers_own_znodes_are_never_governed() {
        let mut scene = Scene::new();
        scene.make(&[
            "/zookeeper/quota/zookeeper",
            "/zookeeper/quota/zookeeper/zookeeper_limits",
            "/zookeeper/quota/zookeeper_stats",
        ]);
        assert!(scene.draft.tables().quotas.is_empty());
        assert_eq!(scene.text("/zookeeper/quota/zookeeper_stats"), "x");
    }
}
