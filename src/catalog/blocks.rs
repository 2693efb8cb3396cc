//! The blocks of a catalog, found by what they name: many of them cost a request no more than few.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::catalog::model::limit::Block;
use crate::catalog::model::{ApiIndex, ApplicationIndex};

/// Finds the block that refuses a request.
#[derive(Debug, Default)]
pub struct Blocks {
    all: Vec<Block>,
    subjects: HashMap<Arc<str>, Vec<usize>>,
    applications: HashMap<ApplicationIndex, Vec<usize>>,
    apis: HashMap<ApiIndex, Vec<usize>>,
    ranges: HashMap<IpNet, Vec<usize>>,
    /// The lengths of the ranges' prefixes, of IPv4 and of IPv6.
    lengths: [BTreeSet<u8>; 2],
    /// Those that only say whom they do not mean.
    rest: Vec<usize>,
}

/// What a block can name of a request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// The application that calls, where the catalog has it.
    pub application: Option<ApplicationIndex>,
    /// The verified subject.
    pub subject: Option<&'r str>,
    /// Where the client is.
    pub address: Option<IpAddr>,
    /// The Api that is called.
    pub api: ApiIndex,
}

impl Blocks {
    /// The index of these. Each stands below the one thing that fewest requests have.
    #[must_use]
    pub(super) fn new(blocks: Vec<Block>) -> Self {
        let mut index = Self::default();
        for (at, block) in blocks.iter().enumerate() {
            if let Some(subject) = &block.subject {
                index
                    .subjects
                    .entry(Arc::clone(subject))
                    .or_default()
                    .push(at);
            } else if let Some(application) = block.application {
                index.applications.entry(application).or_default().push(at);
            } else if !block.addresses.is_empty() {
                for range in &block.addresses {
                    index.ranges.entry(*range).or_default().push(at);
                    let [v4, v6] = &mut index.lengths;
                    match range {
                        IpNet::V4(range) => v4.insert(range.prefix_len()),
                        IpNet::V6(range) => v6.insert(range.prefix_len()),
                    };
                }
            } else if let Some(api) = block.api {
                index.apis.entry(api).or_default().push(at);
            } else {
                index.rest.push(at);
            }
        }
        index.all = blocks;
        index
    }

    /// Every block.
    #[must_use]
    pub fn all(&self) -> &[Block] {
        &self.all
    }

    /// A block that refuses this at `now`, if there is one.
    #[must_use]
    pub fn find(&self, asked: &Asked<'_>, now: Timestamp) -> Option<&Block> {
        if self.all.is_empty() {
            return None;
        }
        let subject = asked.subject.and_then(|subject| self.subjects.get(subject));
        let application = asked
            .application
            .and_then(|application| self.applications.get(&application));
        let api = self.apis.get(&asked.api);
        let named = [subject, application, api, Some(&self.rest)];
        let named = named.into_iter().flatten().flatten();
        let candidates = named.copied().chain(self.of_address(asked.address));
        let mut blocks = candidates.filter_map(|at| self.all.get(at));
        blocks.find(|block| block.refuses(asked, now))
    }

    fn of_address(&self, address: Option<IpAddr>) -> impl Iterator<Item = usize> {
        let address = address.map(|address| address.to_canonical());
        let [v4, v6] = &self.lengths;
        let lengths = match address {
            Some(IpAddr::V4(_)) => v4.iter(),
            Some(IpAddr::V6(_)) => v6.iter(),
            None => Default::default(),
        };
        let ranges = lengths.filter_map(move |length| IpNet::new(address?, *length).ok());
        ranges
            .filter_map(|range| self.ranges.get(&range.trunc()))
            .flatten()
            .copied()
    }
}

impl Block {
    fn refuses(&self, asked: &Asked<'_>, now: Timestamp) -> bool {
        let address = asked.address.map(|address| address.to_canonical());
        let is_in =
            |ranges: &[IpNet], address: IpAddr| ranges.iter().any(|range| range.contains(&address));
        self.until.is_none_or(|until| now < until)
            && self.application.is_none_or(|ours| asked.application == Some(ours))
            && self.subject.as_deref().is_none_or(|ours| asked.subject == Some(ours))
            && self.api.is_none_or(|ours| asked.api == ours)
            && (self.addresses.is_empty()
                || address.is_some_and(|address| is_in(&self.addresses, address)))
            // a client whose address is not known is none of those that are let through
            && !address.is_some_and(|address| is_in(&self.not_addresses, address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::Origin;

    fn block(change: impl FnOnce(&mut Block)) -> Block {
        let mut block = Block {
            id: "default/b".into(),
            application: None,
            subject: None,
            addresses: Vec::new(),
            not_addresses: Vec::new(),
            api: None,
            until: None,
            note: None,
            origin: Origin {
                source: "main".into(),
                file: "blocks.yaml".into(),
                line: 1,
            },
        };
        change(&mut block);
        block
    }

    fn ranges(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn is_blocked(blocks: Vec<Block>, asked: &Asked<'_>) -> bool {
        let now = Timestamp::from_second(1000).unwrap();
        Blocks::new(blocks).find(asked, now).is_some()
    }

    const SHOP: ApplicationIndex = ApplicationIndex(1);
    const ORDERS: ApiIndex = ApiIndex(2);

    fn asked() -> Asked<'static> {
        Asked {
            application: Some(SHOP),
            subject: Some("alice"),
            address: Some("10.1.2.3".parse().unwrap()),
            api: ORDERS,
        }
    }

    #[test]
    fn a_block_refuses_whoever_meets_all_that_it_names() {
        let shop = |block: &mut Block| block.application = Some(SHOP);
        assert!(is_blocked(vec![block(shop)], &asked()));
        let subscription = |api| {
            block(move |block| {
                block.application = Some(SHOP);
                block.api = Some(api);
            })
        };
        assert!(is_blocked(vec![subscription(ORDERS)], &asked()));
        assert!(!is_blocked(vec![subscription(ApiIndex(3))], &asked()));
        let alice = |application| {
            block(move |block| {
                block.subject = Some("alice".into());
                block.application = Some(application);
            })
        };
        assert!(is_blocked(vec![alice(SHOP)], &asked()));
        assert!(!is_blocked(vec![alice(ApplicationIndex(9))], &asked()));
        let api = |block: &mut Block| block.api = Some(ORDERS);
        assert!(is_blocked(vec![block(api)], &asked()));
        assert!(!is_blocked(Vec::new(), &asked()));
    }

    #[test]
    fn ranges_are_those_of_addresses_in_every_form() {
        let of = |texts: &'static [&str]| vec![block(|block| block.addresses = ranges(texts))];
        for (texts, blocked) in [
            (&["10.0.0.0/8"][..], true),
            (&["10.1.2.3/32"], true),
            (&["0.0.0.0/0"], true),
            (&["10.1.2.0/30", "192.168.0.0/16"], true),
            (&["10.1.2.4/30"], false),
            (&["::/0"], false),
        ] {
            assert_eq!(is_blocked(of(texts), &asked()), blocked, "{texts:?}");
        }
        let mapped = Asked {
            address: Some("::ffff:10.1.2.3".parse().unwrap()),
            ..asked()
        };
        assert!(is_blocked(of(&["10.0.0.0/8"]), &mapped));
        let v6 = Asked {
            address: Some("2001:db8::7".parse().unwrap()),
            ..asked()
        };
        assert!(is_blocked(of(&["2001:db8::/32"]), &v6));
        let unknown = Asked {
            address: None,
            ..asked()
        };
        assert!(!is_blocked(of(&["10.0.0.0/8"]), &unknown));
    }

    #[test]
    fn whom_a_block_does_not_mean_passes_and_an_unknown_address_does_not() {
        let only_from = vec![block(|block| {
            block.application = Some(SHOP);
            block.not_addresses = ranges(&["10.1.0.0/16"]);
        })];
        assert!(!is_blocked(only_from.clone(), &asked()));
        for address in [Some("10.2.0.1".parse().unwrap()), None] {
            let elsewhere = Asked { address, ..asked() };
            assert!(is_blocked(only_from.clone(), &elsewhere), "{address:?}");
        }
    }

    #[test]
    fn a_block_ends_at_its_time() {
        let until = |second| {
            vec![block(|block| {
                block.subject = Some("alice".into());
                block.until = Some(Timestamp::from_second(second).unwrap());
            })]
        };
        assert!(is_blocked(until(1001), &asked()));
        assert!(!is_blocked(until(1000), &asked()));
    }
}
