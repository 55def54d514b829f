"""The swallow over time: when each part moves, and how far. Times in seconds from the onset of hyoid motion."""

from dataclasses import dataclass

import numpy as np

from bundle.phantom.geometry import smoothstep

# Stations along the bolus' way, as shares of it.
ORAL_END, PHARYNX_END, UES_END = 0.30, 0.65, 0.78
BEFORE_ONSET_S, AFTER_ONSET_S = 1.1, 1.7


@dataclass(frozen=True)
class Swallow:
    """Timing, amplitudes and findings of one swallow."""

    slowness: float  # Factor on all times (1 healthy and young; above 1 slower)
    oral_delay_s: float  # How much earlier than usual the bolus leaves the mouth (a delayed pharyngeal trigger)
    hyoid_anterior_mm: float  # Peak anterior excursion
    hyoid_superior_mm: float  # Peak superior excursion
    larynx_lift_mm: float  # Peak laryngeal elevation
    epiglottis_inversion: float  # 1 complete inversion; less: incomplete
    vestibule_closure: float  # 1 complete closure of the laryngeal vestibule
    velum_closure: float  # 1 complete contact of the velum with the posterior wall
    constriction: float  # 1 complete contact of the pharyngeal walls behind the bolus
    ues_opening_mm: float  # Widest antero-posterior opening of the upper oesophageal sphincter
    bolus_thickness: float  # Relative fullness of the bolus
    contrast_per_mm: float  # Linear attenuation of the contrast agent
    vallecular_residue: float  # 0 none ... 1 full valleculae after the swallow
    pyriform_residue: float  # 0 none ... 1 full pyriform sinuses after the swallow
    penetration: bool  # Contrast enters the vestibule and stays above the vocal folds
    aspiration: bool  # Contrast passes below the vocal folds (implies penetration)
    jaw_opening: float  # Degrees of jaw opening at rest

    @property
    def start_s(self) -> float:
        """Time of the first frame of a whole swallow."""
        return -BEFORE_ONSET_S * self.slowness - self.oral_delay_s

    @property
    def end_s(self) -> float:
        """Time of the last frame of a whole swallow."""
        return AFTER_ONSET_S * self.slowness


@dataclass(frozen=True)
class SwallowState:
    """Everything that moves at one moment; activations are 0 at rest and 1 at the peak of a healthy swallow."""

    time_s: float
    hyoid: float
    larynx: float
    epiglottis: float
    vestibule: float
    velum: float
    ues: float
    jaw: float
    constriction: float
    head: float
    tail: float
    residue: float
    airway: float
    release: float


def draw_swallow(rng: np.random.Generator) -> Swallow:
    """Draw one swallow; impairment grows all findings together, as it does in patients."""
    impairment = rng.beta(1.1, 1.6)
    penetration = bool(rng.random() < 0.12 + 0.45 * impairment)
    residue = impairment * rng.random(2) + 0.06 * rng.random(2)
    return Swallow(
        slowness=1.0 + 0.45 * impairment * rng.random() + 0.1 * rng.random(),
        oral_delay_s=float(impairment * rng.exponential(0.25)),
        hyoid_anterior_mm=rng.uniform(9.0, 15.0) * (1 - 0.35 * impairment),
        hyoid_superior_mm=rng.uniform(8.0, 16.0) * (1 - 0.25 * impairment),
        larynx_lift_mm=rng.uniform(16.0, 23.0) * (1 - 0.35 * impairment),
        epiglottis_inversion=float(np.clip(1.05 - 0.6 * impairment * rng.random(), 0.3, 1.0)),
        vestibule_closure=rng.uniform(0.6, 0.85) if penetration else 1.0,
        velum_closure=float(np.clip(1.1 - 0.4 * impairment * rng.random(), 0.6, 1.0)),
        constriction=float(np.clip(0.97 - 0.45 * impairment * rng.random(), 0.5, 0.97)),
        ues_opening_mm=rng.uniform(7.0, 12.0) * (1 - 0.35 * impairment),
        bolus_thickness=rng.uniform(0.5, 1.15),
        contrast_per_mm=rng.uniform(0.06, 0.17),
        vallecular_residue=float(min(residue[0], 1.0)),
        pyriform_residue=float(min(residue[1], 1.0)),
        penetration=penetration,
        aspiration=penetration and bool(rng.random() < 0.45),
        jaw_opening=rng.uniform(0.0, 8.0),
    )


def rise_and_fall(time: float, start: float, peak: float, leave: float, end: float) -> float:
    """0 before ``start``, 1 from ``peak`` to ``leave``, 0 after ``end``, smooth between."""
    return float(smoothstep(time, start, peak) * (1.0 - smoothstep(time, leave, end)))


def state_at(swallow: Swallow, time_s: float) -> SwallowState:
    """State of everything that moves at one moment. The order of events follows healthy swallowing."""
    t = time_s / swallow.slowness
    early = swallow.oral_delay_s / swallow.slowness
    head_times = [-0.9 - early, -0.4 - early, 0.0 - early, 0.24, 0.34, 0.52, 0.75]
    head_stations = [0.165, 0.20, 0.42, 0.60, 0.70, 0.96, 1.10]
    tail_times = [-0.6 - early, 0.08, 0.26, 0.45, 0.68, 0.95]
    tail_stations = [0.03, 0.20, 0.33, 0.52, 0.78, 1.10]
    return SwallowState(
        time_s=time_s,
        hyoid=0.12 * rise_and_fall(t, -0.5, -0.1, 0.5, 1.0) + 0.88 * rise_and_fall(t, 0.0, 0.38, 0.52, 1.02),
        larynx=rise_and_fall(t, 0.04, 0.42, 0.58, 1.08),
        epiglottis=swallow.epiglottis_inversion * rise_and_fall(t, 0.14, 0.40, 0.62, 0.90),
        vestibule=swallow.vestibule_closure * rise_and_fall(t, 0.10, 0.34, 0.66, 0.88),
        velum=rise_and_fall(t, -0.34 - early, -0.10 - early, 0.64, 0.92),
        ues=rise_and_fall(t, 0.26, 0.40, 0.60, 0.80),
        jaw=swallow.jaw_opening * (1.0 - rise_and_fall(t, -0.5, -0.25, 0.9, 1.4)),
        constriction=swallow.constriction,
        head=float(np.interp(t, head_times, head_stations)),
        tail=float(np.interp(t, tail_times, tail_stations)),
        residue=float(smoothstep(t, 0.30, 0.60)),
        airway=float(smoothstep(t, 0.30, 0.62)),
        release=float(smoothstep(t, 0.82, 1.12)),
    )
