//! How many posts are under way, for each account and each of its hosts: one that hangs must not take the room of all.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::{ACCOUNT_POSTS_MAX, HOST_POSTS_MAX};

/// Posts under way. Cloning is cheap.
#[derive(Clone, Default)]
pub(super) struct Posts(Arc<Mutex<HashMap<String, Hosts>>>);

/// Those of an account.
#[derive(Default)]
struct Hosts {
    all: usize,
    each: HashMap<String, usize>,
}

/// The room of one post, until dropped.
pub(super) struct Room {
    posts: Posts,
    account: String,
    host: String,
}

impl Posts {
    /// Room for one more post of `account` to `host`; `None` while they have their share.
    pub(super) fn enter(&self, account: &str, host: &str) -> Option<Room> {
        let mut accounts = self.0.lock();
        let of = accounts.entry(account.to_owned()).or_default();
        let under_way = of.each.get(host).copied().unwrap_or(0);
        // An account without posts has room, so none is left behind empty.
        if of.all >= ACCOUNT_POSTS_MAX || under_way >= HOST_POSTS_MAX {
            return None;
        }
        of.all += 1;
        of.each.insert(host.to_owned(), under_way + 1);
        Some(Room { posts: self.clone(), account: account.to_owned(), host: host.to_owned() })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut accounts = self.posts.0.lock();
        let Some(of) = accounts.get_mut(&self.account) else { return };
        of.all -= 1;
        if let Some(under_way) = of.each.get_mut(&self.host) {
            *under_way -= 1;
            if *under_way == 0 {
                of.each.remove(&self.host);
            }
        }
        if of.all == 0 {
            accounts.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_accounts_have_their_share_and_leave_nothing_behind() {
        let posts = Posts::default();
        let one: Vec<Room> = (0..HOST_POSTS_MAX).filter_map(|_| posts.enter("a", "x")).collect();
        assert_eq!(one.len(), HOST_POSTS_MAX);
        assert!(posts.enter("a", "x").is_none());
        assert!(posts.enter("b", "x").is_some(), "another account is not kept out");
        let hosts: Vec<Room> = (0..ACCOUNT_POSTS_MAX).filter_map(|n| posts.enter("a", &n.to_string())).collect();
        assert_eq!(one.len() + hosts.len(), ACCOUNT_POSTS_MAX);
        assert!(posts.enter("a", "y").is_none());
        drop(one);
        assert!(posts.enter("a", "x").is_some());
        drop(hosts);
        assert!(posts.0.lock().is_empty());
    }
}
