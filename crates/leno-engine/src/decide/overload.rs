//! How far an action goes at the pressures that are measured.

use std::time::Duration;

use crate::compile::overload::{Action, Least, Trigger};

/// From 0, nothing is done, to 1, all of it is. `pressures` are by monitor; None: not measured yet.
pub fn state(action: &Action, pressures: &[Option<f64>]) -> f64 {
    let states = action.triggers.iter().map(|trigger| {
        let pressure = pressures.get(trigger.monitor).copied().flatten();
        pressure.map_or(0.0, |pressure| trigger.state(pressure))
    });
    states.fold(0.0, f64::max)
}

/// How long a timer is at this state of the action.
pub fn shortened(time: Duration, least: Least, state: f64) -> Duration {
    let least = match least {
        Least::Time(least) => least.min(time),
        Least::Share(share) => time.mul_f64(share.clamp(0.0, 1.0)),
    };
    least + (time - least).mul_f64((1.0 - state).clamp(0.0, 1.0))
}

impl Trigger {
    fn state(&self, pressure: f64) -> f64 {
        // A threshold is reached by what is equal to it, the beginning of a scale is not.
        if pressure >= self.saturation {
            return 1.0;
        }
        if self.threshold || pressure <= self.scaling {
            return 0.0;
        }
        (pressure - self.scaling) / (self.saturation - self.scaling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::overload::What;

    fn trigger(monitor: usize, scaling: f64, saturation: f64) -> Trigger {
        Trigger {
            monitor,
            scaling,
            saturation,
            threshold: scaling == saturation,
        }
    }

    fn action(triggers: Vec<Trigger>) -> Action {
        Action {
            name: String::new(),
            what: What::StopRequests,
            triggers,
        }
    }

    #[test]
    fn timers_are_shortened_down_to_their_least() {
        let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
        assert_eq!(shortened(minute, Least::Time(second * 20), 0.0), minute);
        assert_eq!(shortened(minute, Least::Time(second * 20), 0.5), second * 40);
        assert_eq!(shortened(minute, Least::Time(second * 20), 1.0), second * 20);
        assert_eq!(shortened(second, Least::Time(minute), 1.0), second);
        assert_eq!(shortened(minute, Least::Share(0.25), 1.0), second * 15);
    }

    #[test]
    fn the_greatest_state_counts() {
        let action = action(vec![trigger(0, 0.9, 0.9), trigger(1, 0.5, 0.75)]);
        assert_eq!(state(&action, &[None, None]), 0.0);
        assert_eq!(state(&action, &[Some(0.89), Some(0.5)]), 0.0);
        assert_eq!(state(&action, &[Some(0.89), Some(0.625)]), 0.5);
        assert_eq!(state(&action, &[Some(0.9), Some(0.625)]), 1.0);
        assert_eq!(state(&action, &[Some(0.0), Some(0.75)]), 1.0);
    }
}
