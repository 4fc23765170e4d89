//! A write's answer describes the znode just after it: the zxids of its Stat are those of the
//! write, and where a version exists at exactly that zxid, the Stat is the znode's.

use model::{ErrorCode, OpCode, Stat, Zxid};
use protocol::{Answer, MultiResult};

use super::{Checker, Seen};
use crate::client::Asked;
use crate::history::History;

/// See the module.
pub(super) struct WriteReplies;

fn check(
    history: &History,
    opcode: OpCode,
    asked: &[u8],
    zxid: Zxid,
    answer: &Answer<'_>,
) -> Result<(), String> {
    match (opcode, answer) {
        (OpCode::SetData, Answer::Stat(stat)) if stat.mzxid != zxid => {
            Err(format!("mzxid {:?} of a setData at {zxid:?}", stat.mzxid))
        }
        (OpCode::SetData | OpCode::SetAcl, Answer::Stat(stat)) => {
            same(history, zxid, asked, Some(stat))
        }
        (_, Answer::PathStat(path, stat)) => {
            if (stat.czxid, stat.mzxid, stat.version) != (zxid, zxid, 0) {
                return Err(format!("a create at {zxid:?} is told {stat:?}"));
            }
            begins(path, asked)?;
            same(history, zxid, path, Some(stat))
        }
        (OpCode::Create, Answer::Path(path)) => {
            begins(path, asked)?;
            same(history, zxid, path, None)
        }
        (OpCode::Delete, Answer::Done) => match history.versions.get(&zxid) {
            Some(version) if version.view().get(asked).is_some() => {
                Err("it was deleted and is there".to_owned())
            }
            Some(_) | None => Ok(()),
        },
        (_, other) => Err(format!("the answer {other:?} has the wrong form")),
    }
}

fn begins(path: &[u8], asked: &[u8]) -> Result<(), String> {
    if path.starts_with(asked) { Ok(()) } else { Err(format!("created {}", path.escape_ascii())) }
}

fn same(history: &History, zxid: Zxid, path: &[u8], told: Option<&Stat>) -> Result<(), String> {
    let Some(version) = history.versions.get(&zxid) else { return Ok(()) };
    let real = version.view().get(path).map(|znode| znode.stat());
    if real.is_some() && told.is_none_or(|told| real.as_ref() == Some(told)) {
        return Ok(());
    }
    Err(format!("told {told:?}, is {real:?}"))
}

/// A multi either did all it was asked or says which operation failed.
fn check_multi(results: &[MultiResult<'_>]) -> Result<(), String> {
    let failed = |result: &MultiResult<'_>| matches!(result, MultiResult::Failed(_));
    let real = |result: &MultiResult<'_>| match result {
        MultiResult::Failed(code) => *code != 0 && *code != ErrorCode::RuntimeInconsistency.code(),
        _ => false,
    };
    let (all, causes) = (
        results.iter().filter(|result| failed(result)).count(),
        results.iter().filter(|result| real(result)).count(),
    );
    if all == 0 || (all == results.len() && causes == 1) {
        return Ok(());
    }
    Err(format!("results {results:?}"))
}

impl Checker for WriteReplies {
    fn name(&self) -> &'static str {
        "write_reply_matches_version"
    }

    fn see(&mut self, history: &History, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Replied { pending, header, answer: Some(answer), .. } = seen else {
            return Ok(());
        };
        match (&pending.asked, answer) {
            (Asked::Write(path), _) => check(history, pending.opcode, path, header.zxid, answer),
            (Asked::Multi, Answer::Multi(results)) => check_multi(results),
            _ => return Ok(()),
        }
        .map_err(|why| format!("{:?} at {:?}: {why}", pending.asked, header.zxid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::doctored::Maker;

    #[test]
    fn a_wrong_stat_is_caught() {
        let mut maker = Maker::new();
        let version = maker.create("/p0");
        let stat = version.view().get(b"/p0").expect("just made").stat();
        let see = |stat: Stat| {
            let answer = Answer::PathStat(b"/p0", stat);
            check(&maker.history, OpCode::Create2, b"/p0", Zxid(1), &answer)
        };
        assert_eq!(see(stat), Ok(()));
        assert!(see(Stat { czxid: Zxid(2), ..stat }).is_err());
        assert!(see(Stat { data_length: 7, ..stat }).is_err());
        let path = Answer::Path(b"/elsewhere");
        assert!(check(&maker.history, OpCode::Create, b"/p0", Zxid(1), &path).is_err());
    }

    #[test]
    fn half_a_multi_is_caught() {
        let stories = [
            (vec![MultiResult::Deleted, MultiResult::Deleted], true),
            (vec![MultiResult::Failed(0), MultiResult::Failed(-101)], true),
            (vec![MultiResult::Failed(-101), MultiResult::Failed(-2)], true),
            (vec![MultiResult::Deleted, MultiResult::Failed(-101)], false),
            (vec![MultiResult::Failed(0), MultiResult::Failed(-2)], false),
        ];
        for (results, fine) in stories {
            assert_eq!(check_multi(&results).is_ok(), fine, "{results:?}");
        }
    }
}
