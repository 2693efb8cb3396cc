//! Windows on the time line: where a calendar window begins and ends, in UTC.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, date};
use jiff::tz::Offset;

use crate::catalog::model::limit::Window;

/// The seconds since 1970 from which a window holds, and those at which the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first second.
    pub start: u64,
    /// The first second after it; none where it never ends.
    pub end: Option<u64>,
}

/// The Monday before 1970-01-05, in seconds before 1970.
const FIRST_MONDAY: u64 = 3 * 86_400;

impl Window {
    /// The calendar window that holds at `now`. Times before 1970 count as 1970.
    #[must_use]
    pub fn calendar(self, now: Timestamp) -> Span {
        let second = u64::try_from(now.as_second()).unwrap_or(0);
        match self {
            Self::Second => fixed(second, 1, 0),
            Self::Minute => fixed(second, 60, 0),
            Self::Hour => fixed(second, 3600, 0),
            Self::Day => fixed(second, 86_400, 0),
            Self::Week => fixed(second, 7 * 86_400, FIRST_MONDAY),
            Self::Month => {
                let today = day(now);
                let next = today.checked_add(jiff::Span::new().months(1));
                between(today.first_of_month(), next.map(Date::first_of_month).ok())
            }
            Self::Year => {
                let today = day(now);
                let next = today.checked_add(jiff::Span::new().years(1));
                between(today.first_of_year(), next.map(Date::first_of_year).ok())
            }
            Self::Ever => Span {
                start: 0,
                end: None,
            },
        }
    }
}

/// The window of `length` seconds around `second`, where one began `before` seconds before 1970.
fn fixed(second: u64, length: u64, before: u64) -> Span {
    let gone = (second + before) % length.max(1);
    Span {
        start: second.saturating_sub(gone),
        end: Some(second + length - gone),
    }
}

fn day(now: Timestamp) -> Date {
    let now = now.max(Timestamp::UNIX_EPOCH);
    Offset::UTC.to_datetime(now).date()
}

fn between(first: Date, next: Option<Date>) -> Span {
    let second = |day: Date| {
        let midnight: DateTime = day.to_datetime(jiff::civil::Time::midnight());
        let midnight = Offset::UTC.to_timestamp(midnight);
        midnight.map_or(0, |midnight| {
            u64::try_from(midnight.as_second()).unwrap_or(0)
        })
    };
    Span {
        start: second(first),
        // the calendar ends in the year 9999
        end: Some(second(next.unwrap_or(date(9999, 12, 31)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(window: Window, now: &str) -> (String, String) {
        let span = window.calendar(now.parse().unwrap());
        let text = |second: u64| {
            let second = i64::try_from(second).unwrap();
            Timestamp::from_second(second).unwrap().to_string()
        };
        (text(span.start), text(span.end.unwrap()))
    }

    #[test]
    fn calendar_windows_begin_and_end_where_people_expect_it() {
        let now = "2028-02-29T23:59:59.999Z";
        for (window, start, end) in [
            (
                Window::Second,
                "2028-02-29T23:59:59Z",
                "2028-03-01T00:00:00Z",
            ),
            (
                Window::Minute,
                "2028-02-29T23:59:00Z",
                "2028-03-01T00:00:00Z",
            ),
            (Window::Hour, "2028-02-29T23:00:00Z", "2028-03-01T00:00:00Z"),
            (Window::Day, "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
            // a Tuesday
            (Window::Week, "2028-02-28T00:00:00Z", "2028-03-06T00:00:00Z"),
            (
                Window::Month,
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
            (Window::Year, "2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z"),
        ] {
            let expected = (start.to_owned(), end.to_owned());
            assert_eq!(span(window, now), expected, "{window:?}");
        }
        let monday = (
            "2026-11-23T00:00:00Z".to_owned(),
            "2026-11-30T00:00:00Z".to_owned(),
        );
        assert_eq!(span(Window::Week, "2026-11-23T00:00:00Z"), monday);
        assert_eq!(span(Window::Week, "2026-11-29T23:59:59Z"), monday);
        let january = span(Window::Month, "2027-01-31T12:00:00Z");
        assert_eq!(january.1, "2027-02-01T00:00:00Z");
    }

    #[test]
    fn a_window_without_end_and_a_time_before_1970_are_windows() {
        let now = "1969-12-31T23:00:00Z".parse().unwrap();
        let ever = Span {
            start: 0,
            end: None,
        };
        assert_eq!(Window::Ever.calendar(now), ever);
        for window in [
            Window::Second,
            Window::Day,
            Window::Week,
            Window::Month,
            Window::Year,
        ] {
            assert_eq!(window.calendar(now).start, 0, "{window:?}");
        }
    }
}
