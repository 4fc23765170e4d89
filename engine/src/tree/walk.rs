//! Going through the leaves of either tree, with places to come back to.

use super::store::{Edge, Kind};

/// Where an iteration over records or pages of names stands. It means something only together
/// with the version it comes from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    /// Per level, the edge to look at next; all but the last were entered one before.
    ways: Vec<u16>,
    done: bool,
}

/// Leaves below an edge, in order.
pub(super) struct Walk<'a> {
    /// Per level, the edges and the next one to look at.
    levels: Vec<(&'a [Edge], usize)>,
}

impl<'a> Walk<'a> {
    /// From the cursor on; the default cursor is the beginning.
    pub(super) fn new(root: &'a Edge, from: &Cursor) -> Walk<'a> {
        let mut walk = Walk { levels: Vec::with_capacity(8) };
        if from.done {
            return walk;
        }
        let mut edges = std::slice::from_ref(root);
        let ways = if from.ways.is_empty() { &[0][..] } else { &from.ways };
        for &way in ways {
            let way = usize::from(way);
            walk.levels.push((edges, way.min(edges.len())));
            let Some(entered) = way.checked_sub(1).and_then(|at| edges.get(at)) else { break };
            edges = entered.edges();
        }
        walk
    }

    /// Enters the way `choose` names at each node, and stands at the leaf at its end.
    pub(super) fn seek(root: &'a Edge, choose: impl Fn(&'a Edge) -> usize) -> Walk<'a> {
        let mut walk = Walk { levels: Vec::with_capacity(8) };
        let mut edges = std::slice::from_ref(root);
        let mut at = 0;
        while let Some(edge) = edges.get(at) {
            let below = edge.edges();
            if below.is_empty() {
                walk.levels.push((edges, at));
                break;
            }
            walk.levels.push((edges, at + 1));
            at = choose(edge).min(below.len() - 1);
            edges = below;
        }
        walk
    }

    /// Where the walk stands.
    pub(super) fn cursor(&self) -> Cursor {
        let ways: Vec<u16> = self.levels.iter().map(|(_, next)| *next as u16).collect();
        Cursor { done: ways.is_empty(), ways }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = &'a Edge;

    fn next(&mut self) -> Option<&'a Edge> {
        loop {
            let (edges, next) = self.levels.last_mut()?;
            let Some(edge) = edges.get(*next) else {
                self.levels.pop();
                continue;
            };
            *next += 1;
            match edge.kind() {
                Kind::None => {}
                Kind::Inner | Kind::Bucket | Kind::Index => self.levels.push((edge.edges(), 0)),
                Kind::Record | Kind::MappedRecord | Kind::Names | Kind::MappedNames => {
                    return Some(edge);
                }
            }
        }
    }
}
