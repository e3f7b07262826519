//! Which blocks hold which tokens: a radix tree of blocks, so that a prompt finds what was read of it before.
//!
//! Owns the tree of one tier and the order in which its blocks are given up. A block stands below the block that holds
//! the positions before its own, so a path from the root spells a prompt, and equal prompts have equal paths. Does not
//! own references: it is told when a block is held by tables and when no longer.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::table::Key;

/// The tree of one tier. A node is named by its block.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// By block.
    nodes: Vec<Option<Node>>,
    roots: Children,
    /// What may be given up next: nodes that no table holds and that have no children, with the time since when.
    leaves: BTreeSet<(u64, u32)>,
    /// Nodes that no table holds.
    idle: usize,
}

/// Full blocks, and as leaves also partly filled ones that nobody writes any more.
type Children = BTreeMap<Arc<[Key]>, u32>;

#[derive(Debug)]
struct Node {
    parent: Option<u32>,
    key: Arc<[Key]>,
    children: Children,
    /// Since when no table holds it; `None` while one does.
    idle_since: Option<u64>,
}

impl Tree {
    pub(super) fn contains(&self, block: u32) -> bool {
        self.node(block).is_some()
    }

    /// Blocks that are kept although no table holds them.
    pub(super) fn idle(&self) -> usize {
        self.idle
    }

    /// Since when the block that [`Self::give_up`] would return has been idle.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.leaves.first().map(|&(since, _)| since)
    }

    /// The block below `parent` whose tokens have the most in common with `wanted` at their beginning, and how many. Never 0.
    pub(super) fn nearest(&self, parent: Option<u32>, wanted: &[Key]) -> Option<(u32, usize)> {
        let children = self.children(parent)?;
        // What has most in common with a text stands beside it in the order of the alphabet.
        let before = children.range::<[Key], _>((Bound::Unbounded, Bound::Included(wanted))).next_back();
        let after = children.range::<[Key], _>((Bound::Excluded(wanted), Bound::Unbounded)).next();
        let common = |(key, &block): (&Arc<[Key]>, &u32)| (block, common_length(key, wanted));
        let (before, after) = (before.map(common), after.map(common));
        [before, after].into_iter().flatten().filter(|&(_, length)| length > 0).max_by_key(|&(_, length)| length)
    }

    /// The block below `parent` that holds exactly these tokens.
    pub(super) fn child(&self, parent: Option<u32>, key: &[Key]) -> Option<u32> {
        self.children(parent)?.get(key).copied()
    }

    /// Adds a block that a table holds. The parent must be in the tree, and have no such child.
    pub(super) fn insert(&mut self, parent: Option<u32>, key: &[Key], block: u32) {
        let key: Arc<[Key]> = Arc::from(key);
        let siblings = match parent {
            None => &mut self.roots,
            Some(parent) => match self.nodes.get_mut(parent as usize).and_then(Option::as_mut) {
                Some(node) => {
                    if let Some(since) = node.idle_since {
                        self.leaves.remove(&(since, parent));
                    }
                    &mut node.children
                }
                None => return,
            },
        };
        siblings.insert(Arc::clone(&key), block);
        if self.nodes.len() <= block as usize {
            self.nodes.resize_with(block as usize + 1, || None);
        }
        self.nodes[block as usize] = Some(Node { parent, key, children: Children::new(), idle_since: None });
    }

    /// A table holds the block now.
    pub(super) fn hold(&mut self, block: u32) {
        if let Some(node) = self.nodes.get_mut(block as usize).and_then(Option::as_mut)
            && let Some(since) = node.idle_since.take()
        {
            self.leaves.remove(&(since, block));
            self.idle -= 1;
        }
    }

    /// No table holds the block any more.
    pub(super) fn let_go(&mut self, block: u32, now: u64) {
        if let Some(node) = self.nodes.get_mut(block as usize).and_then(Option::as_mut)
            && node.idle_since.is_none()
        {
            node.idle_since = Some(now);
            self.idle += 1;
            if node.children.is_empty() {
                self.leaves.insert((now, block));
            }
        }
    }

    /// Takes the block out that has been idle for longest, of those that no other stands below.
    pub(super) fn give_up(&mut self) -> Option<u32> {
        let (_, block) = self.leaves.pop_first()?;
        let node = self.nodes.get_mut(block as usize).and_then(Option::take)?;
        self.idle -= 1;
        match node.parent {
            None => {
                self.roots.remove(&node.key);
            }
            Some(parent) => {
                if let Some(above) = self.nodes.get_mut(parent as usize).and_then(Option::as_mut) {
                    above.children.remove(&node.key);
                    if let (true, Some(since)) = (above.children.is_empty(), above.idle_since) {
                        self.leaves.insert((since, parent));
                    }
                }
            }
        }
        Some(block)
    }

    fn node(&self, block: u32) -> Option<&Node> {
        self.nodes.get(block as usize).and_then(Option::as_ref)
    }

    fn children(&self, parent: Option<u32>) -> Option<&Children> {
        match parent {
            None => Some(&self.roots),
            Some(parent) => self.node(parent).map(|node| &node.children),
        }
    }
}

/// How many elements two lists have in common at their beginning.
pub(super) fn common_length<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
