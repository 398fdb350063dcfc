//! The errors of a policies file, collected while it is read. Pure.

/// Errors with the position of each in bytes.
#[derive(Default)]
pub(super) struct Errors(Vec<(usize, String)>);

impl Errors {
    /// Adds an error of `field`, or without one of the document.
    pub(super) fn add(&mut self, at: usize, field: &str, reason: &str) {
        let text = match field {
            "" => reason.to_owned(),
            field => format!("{field}: {reason}"),
        };
        self.0.push((at, text));
    }

    /// The value, or `None` after an error is added.
    pub(super) fn check<T>(
        &mut self,
        at: usize,
        field: &str,
        result: Result<T, &str>,
    ) -> Option<T> {
        result.map_err(|reason| self.add(at, field, reason)).ok()
    }

    /// The number of errors so far.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The errors in the order of their lines in `text`, which count from 1.
    pub(super) fn with_lines(mut self, text: &str) -> Vec<(usize, String)> {
        self.0.sort_by_key(|(at, _)| *at);
        let newlines: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let line = |at: usize| 1 + newlines.partition_point(|newline| *newline < at);
        let errors = self.0.into_iter();
        errors.map(|(at, reason)| (line(at), reason)).collect()
    }
}
