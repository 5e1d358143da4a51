//! How large tables and indexes were, and became.

use serde::Serialize;
use tokio_postgres::Client;

use crate::error::Result;

/// Less than this is no growth, however small it was: a page more of one that had a single one.
const FEW_PAGES: i64 = 8 * 8192;
/// Whatever does not hold remembered sessions is to grow to no more than so many times its size.
pub(super) const GROWTH: f64 = 3.0;

/// The size of a table or an index.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Growth {
    pub(crate) relation: String,
    /// Whether it holds the remembered sessions, which the retention bounds. An index of those that
    /// live does not.
    pub(crate) remembers: bool,
    pub(crate) first_tenth_bytes: i64,
    pub(crate) end_bytes: i64,
    /// The end to the first tenth, if there was anything then.
    pub(crate) factor: Option<f64>,
}

impl Growth {
    pub(super) fn between(first: &Size, end: Size) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "no relation has 2^52 bytes")]
        let factor = match (first.bytes, end.bytes) {
            (0, 0) => Some(1.0),
            (0, _) => None,
            (first, end) => Some(end as f64 / first as f64),
        };
        Self {
            relation: end.relation,
            remembers: end.remembers,
            first_tenth_bytes: first.bytes,
            end_bytes: end.bytes,
            factor,
        }
    }

    /// Whether it grew further than it is to.
    pub(super) fn is_beyond(&self) -> bool {
        !self.remembers
            && self.end_bytes - self.first_tenth_bytes > FEW_PAGES
            && self.factor.is_none_or(|factor| factor > GROWTH)
    }
}

/// A table, with what is stored out of its line, or an index, as large as it was at a moment.
#[derive(Clone, Debug)]
pub(super) struct Size {
    relation: String,
    remembers: bool,
    bytes: i64,
}

pub(super) async fn sizes(client: &Client) -> Result<Vec<Size>> {
    let rows = client
        .query(
            "select c.relname::text,
                    coalesce(i.indrelid, c.oid) in (
                      'occupancy.session'::regclass, 'occupancy.kernel'::regclass)
                      and coalesce(pg_get_expr(i.indpred, i.indrelid), '') !~ 'ended_at IS NULL',
                    pg_relation_size(c.oid) + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0)
               from pg_class c
               left join pg_index i on i.indexrelid = c.oid
              where c.relnamespace = 'occupancy'::regnamespace and c.relkind in ('r', 'i')
              order by c.relname",
            &[],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let (relation, remembers) = (row.try_get(0)?, row.try_get(1)?);
            Ok(Size { relation, remembers, bytes: row.try_get(2)? })
        })
        .collect()
}

/// Sizes on the way. Where the first tenth of a run ends is known only when the run does, so there
/// is always one within a twentieth behind it.
pub(super) struct Looks {
    planned: u64,
    taken: Vec<(u64, Vec<Size>)>,
}

impl Looks {
    pub(super) fn along(planned: u64) -> Self {
        Self { planned, taken: Vec::new() }
    }

    pub(super) async fn look(&mut self, client: &Client, made: u64) -> Result<()> {
        if self.is_due(made) {
            self.taken.push((made, sizes(client).await?));
        }
        Ok(())
    }

    fn is_due(&self, made: u64) -> bool {
        let last = self.taken.last().map_or(0, |(made, _)| *made);
        let tenth = self.planned.div_ceil(10);
        made > last && (made - last >= last / 20 || (last < tenth && made >= tenth))
    }

    /// The first sizes after a tenth of what was made; `None` if it was all over by then.
    pub(super) fn after_first_tenth(&self, made: u64) -> Option<&[Size]> {
        let (_, sizes) = self.taken.iter().find(|(at, _)| *at >= made.div_ceil(10))?;
        Some(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(remembers: bool, first: i64, end: i64) -> Growth {
        let size = |bytes| Size { relation: "keypair".to_owned(), remembers, bytes };
        Growth::between(&size(first), size(end))
    }

    #[test]
    fn a_few_pages_are_no_growth_and_remembered_sessions_are_apart() {
        const PAGE: i64 = 8192;
        for (first, end, beyond) in [
            (0, 0, false),
            (0, PAGE, false),
            (PAGE, 4 * PAGE, false),
            (PAGE, 9 * PAGE, false),
            (PAGE, 10 * PAGE, true),
            (0, 9 * PAGE, true),
            (100 * PAGE, 300 * PAGE, false),
            (100 * PAGE, 301 * PAGE, true),
            (100 * PAGE, PAGE, false),
        ] {
            assert_eq!(growth(false, first, end).is_beyond(), beyond, "{first} to {end}");
            assert!(!growth(true, first, end).is_beyond());
        }
        assert_eq!(growth(false, 0, PAGE).factor, None);
    }

    #[test]
    fn there_is_a_look_close_behind_every_first_tenth() {
        for planned in [1, 10, 1000, 1_000_000] {
            let mut looks = Looks::along(planned);
            for made in 0..=planned {
                if looks.is_due(made) {
                    looks.taken.push((made, Vec::new()));
                }
            }
            assert!(looks.taken.len() < 400, "{}", looks.taken.len());
            for made in [planned / 7, planned / 3, planned].into_iter().filter(|made| *made > 0) {
                let tenth = made.div_ceil(10);
                let (at, _) = looks.taken.iter().find(|(at, _)| *at >= tenth).expect("a look");
                assert!(*at <= tenth + tenth / 20 + 1, "{at} for {tenth}");
            }
            assert!(looks.taken.iter().any(|(at, _)| *at == planned.div_ceil(10)));
        }
    }
}
