//! Broken variants of the engine, which the tests must catch. Only with the feature `planted`, never in a wheel.

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "planted"), allow(dead_code))]
pub(crate) enum Planted {
    /// None: the engine as it is.
    Nothing,
    /// `done` is accepted whatever the token.
    UnfencedDone,
    /// A delayed job is promoted a second before it is due.
    EarlyPromotion,
    /// Some jobs pass those before them.
    LostOrder,
    /// What goes back to its place goes last.
    ReturnedLast,
    /// `resume` wakes nobody.
    ForgottenWake,
}

impl Planted {
    /// Whether this rule is broken; known to be false at compile time without the feature.
    #[inline]
    pub(crate) fn is(self, rule: Self) -> bool {
        cfg!(feature = "planted") && self == rule
    }

    /// What the environment asks for.
    #[cfg(feature = "planted")]
    pub(crate) fn from_environment() -> Self {
        match std::env::var("JOBQ_PLANTED").as_deref() {
            Ok("unfenced_done") => Self::UnfencedDone,
            Ok("early_promotion") => Self::EarlyPromotion,
            Ok("lost_order") => Self::LostOrder,
            Ok("returned_last") => Self::ReturnedLast,
            Ok("forgotten_wake") => Self::ForgottenWake,
            _ => Self::Nothing,
        }
    }

    /// Without the feature there is nothing to ask for.
    #[cfg(not(feature = "planted"))]
    pub(crate) const fn from_environment() -> Self {
        Self::Nothing
    }
}
