"""Outlines of everything that moves, at one moment of the swallow.

The way of the bolus is one channel from the lips to the oesophagus: a fixed wall (palate, then posterior pharyngeal
wall) and a gap in front of it whose far side is tongue, epiglottis and larynx. What closes the gap moves the tongue.
"""

from functools import cached_property

import numpy as np
from scipy.interpolate import PchipInterpolator

from bundle.phantom.anatomy import TEMPLATE_DENS_MM, Anatomy, mandible_halves
from bundle.phantom.channel import (
    NUM_OESOPHAGUS,
    NUM_ORAL,
    NUM_PHARYNX,
    NUM_UES,
    UES_BOTTOM_LEVEL,
    UES_TOP_LEVEL,
    Channel,
    channel_outline,
    lumen,
)
from bundle.phantom.geometry import Points, ellipse, ribbon, rounded, smooth_closed, smooth_open, smoothstep
from bundle.phantom.swallow import ORAL_END, PHARYNX_END, UES_END, Swallow, SwallowState

CLOSED_UES_MM = 4.6  # Antero-posterior thickness of the closed sphincter segment as one sees it: two walls in contact


class Pose:
    """All moving outlines at one moment, in template millimeters, worked out when asked for."""

    def __init__(self, anatomy: Anatomy, swallow: Swallow, state: SwallowState) -> None:
        self.anatomy, self.swallow, self.state = anatomy, swallow, state
        self.patient, self.spine = anatomy.patient, anatomy.spine
        self.lift = swallow.larynx_lift_mm * state.larynx / self.patient.pitch_mm - self.patient.larynx_level_shift
        self.forward = 4.0 * state.larynx
        # In vertebrae: a longer C2 lifts the hard palate, and the velum's front with it.
        self.head_lift = (self.patient.dens_mm - TEMPLATE_DENS_MM) / self.patient.pitch_mm
        self.jaw_degrees = state.jaw
        self.ues_width_mm = swallow.ues_opening_mm * state.ues  # of the open sphincter's lumen
        self.hyoid, self.hyoid_horns = self._hyoid()

    @cached_property
    def mandible(self) -> tuple[Points, Points]:
        """Its two projected halves."""
        return mandible_halves(self.anatomy, self.state.jaw)

    @cached_property
    def oral_air(self) -> Points:
        """Between the lips and the soft palate."""
        return channel_outline(self.channel, 0.0, ORAL_END * (NUM_ORAL - 1) / NUM_ORAL, 1.0)

    @cached_property
    def arytenoid(self) -> Points:
        """One ellipse for both."""
        return ellipse(self.larynx_point(4.62, 24.0), (2.6, 3.6), 20)

    @cached_property
    def thyroid_angle(self) -> Points:
        """Where the two plates meet in front and the ray passes along them."""
        return ellipse(self.larynx_point(4.75, 44.5), (1.7, 4.2), 12)

    @cached_property
    def lumen(self) -> list[Points]:
        """Bolus in the channel, before airway and residue."""
        return lumen(self.channel, self.state)

    def larynx_point(self, level: float, anterior_mm: float) -> Points:
        """A point fixed to the larynx, given where it is at rest."""
        return self.spine.point(level - self.lift, anterior_mm + self.forward)

    def _follow(self, level: np.ndarray) -> np.ndarray:
        """Levels after laryngeal motion: fixed above C2 and at the chest, lifted with the larynx between them."""
        weight = np.interp(level, [2.2, 4.1, 6.0, 8.3], [0.0, 1.0, 1.0, 0.0])
        return level - self.lift * weight

    def _posterior_wall(self, level: np.ndarray) -> np.ndarray:
        """Distance of the posterior pharyngeal wall in front of the spine's center line."""
        extra = self.patient.prevertebral_mm - 4.6
        levels = [-0.5, 0.6, 2.0, 3.0, 4.0, 4.6, 5.2, 6.0, 8.5]
        distance = np.array([16.0, 13.8, 12.6, 12.6, 13.0, 13.8, 15.2, 15.8, 14.0]) + extra
        return PchipInterpolator(levels, distance)(level)

    def _resting_gap(self, level: np.ndarray) -> np.ndarray:
        """Depth of the pharynx at levels given as at rest of the larynx."""
        levels = [1.6, 2.0, 2.5, 3.0, 3.4, 3.85, 4.15, 4.5, 5.0, 5.45]
        depth = [9.0, 9.5, 11.0, 12.0, 15.0, 20.5, 15.5, 9.0, 5.2, 2.6]
        return self.patient.pharynx_width * PchipInterpolator(levels, depth)(np.clip(level, 1.6, 5.45))

    @cached_property
    def hyoid_center(self) -> Points:
        """Center of the hyoid body."""
        rest = self.spine.point(self.patient.hyoid_level, self.patient.hyoid_distance_mm)
        forward = self.spine.anterior(self.patient.hyoid_level)
        up = np.array([forward[1], -forward[0]])
        move = self.swallow.hyoid_anterior_mm * forward + self.swallow.hyoid_superior_mm * up
        return rest + self.state.hyoid * move

    def _hyoid(self) -> tuple[Points, Points]:
        """Outline of the body, a comma seen from the side, and of the greater horns behind it."""
        center, forward = self.hyoid_center, self.spine.anterior(3.5)
        up = np.array([forward[1], -forward[0]])
        knots = np.array([(4.6, 2.6), (5.4, -1.0), (2.6, -3.8), (-2.4, -3.2), (-6.2, 0.2), (-5.6, 3.2), (-0.6, 3.4)])
        body = center + knots[:, :1] * forward + knots[:, 1:] * up
        line = smooth_open([center - 4 * forward, center - 14 * forward + 3 * up, center - 27 * forward + 8.5 * up], 20)
        return smooth_closed(body, 40), ribbon(line, np.linspace(1.9, 1.2, 20))

    @cached_property
    def velum_top(self) -> Points:
        """Upper (nasal) surface of the soft palate from the hard palate to the uvula's tip."""
        place, spine, closed = self.anatomy.head.place, self.spine, self.state.velum
        contact = self.swallow.velum_closure
        level = np.array([0.95, 1.35, 1.85]) - self.head_lift * np.array([1.0, 0.7, 0.2])
        rest_gap = np.array([17.0, 11.5, 8.2]) * self.patient.pharynx_width
        raised_gap = rest_gap * (1 - contact) + np.array([0.2, 0.2, 2.0])
        wall = self._posterior_wall(level)
        rest = spine.point(level, wall + rest_gap)
        raised = spine.point(level - np.array([0.35, 0.25, 0.2]), wall + raised_gap)
        start = place([(131, 52)])
        bend = place([(122, 52.5)]) * (1 - closed) + place([(114, 48)]) * closed
        return smooth_open(np.concatenate([start, bend, rest + closed * (raised - rest)]), 30)

    @cached_property
    def velum(self) -> Points:
        """Outline of the soft palate."""
        top = self.velum_top
        thickness = np.interp(np.linspace(0, 1, 30), [0, 0.3, 0.6, 0.9, 1.0], [4.0, 7.5, 8.0, 5.5, 2.0])
        across = np.gradient(top, axis=0)
        across = np.stack([-across[:, 1], across[:, 0]], axis=1)
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        return np.concatenate([top, (top - across * thickness[:, None])[::-1]])

    def _oral_roof(self) -> Points:
        """Mucosa of the palate from the incisors to the uvula."""
        velum = self.velum
        under = velum[30:][::-1]  # palate to uvula
        hard = self.anatomy.head.place(smooth_open([(176, 68), (170, 60), (158, 56.5), (144, 56.5)], 20))
        return smooth_open(np.concatenate([hard, under[4:26:3]]), NUM_ORAL)

    def _oral_gap(self, station: np.ndarray) -> np.ndarray:
        """Space between tongue and palate: thin air, wide at the bolus, shut behind its tail."""
        state = self.state
        rest = np.interp(station / ORAL_END, [0, 0.3, 0.7, 1.0], [5.0, 3.0, 3.4, 4.0])
        inside = smoothstep(station, state.tail - 0.03, state.tail + 0.05)
        inside = inside * (1.0 - smoothstep(station, state.head - 0.03, state.head + 0.04))
        behind = (1.0 - smoothstep(station, state.tail - 0.06, state.tail + 0.02)) * (1 - state.release)
        started = float(smoothstep(state.tail, 0.05, 0.12))
        return rest * (1 - 0.85 * behind * started) + 9.0 * self.swallow.bolus_thickness * inside

    @cached_property
    def channel(self) -> Channel:
        """Stations from the incisors to the chest."""
        spine = self.spine
        roof = self._oral_roof()
        oral_station = np.linspace(0.0, ORAL_END, NUM_ORAL, endpoint=False)
        # From the roof towards the tongue: forward and down, turning from straight down to straight forward.
        turn = np.linspace(0.0, 1.0, NUM_ORAL)[:, None] ** 2
        oral_across = (1 - turn) * np.array([0.0, 1.0]) + turn * spine.anterior(1.8)
        oral_across /= np.linalg.norm(oral_across, axis=1, keepdims=True)
        rest_level = np.concatenate(
            [
                np.linspace(1.75, UES_TOP_LEVEL, NUM_PHARYNX, endpoint=False),
                np.linspace(UES_TOP_LEVEL, UES_BOTTOM_LEVEL, NUM_UES, endpoint=False),
                np.linspace(UES_BOTTOM_LEVEL, 8.6, NUM_OESOPHAGUS),
            ]
        )
        station = np.concatenate(
            [
                np.linspace(ORAL_END, PHARYNX_END, NUM_PHARYNX, endpoint=False),
                np.linspace(PHARYNX_END, UES_END, NUM_UES, endpoint=False),
                np.linspace(UES_END, 1.0, NUM_OESOPHAGUS),
            ]
        )
        level = self._follow(rest_level)
        gap, wall_shift = self._pharyngeal_gap(rest_level, station)
        wall = spine.point(level, self._posterior_wall(level) + wall_shift)
        return Channel(
            station=np.concatenate([oral_station, station]),
            wall=np.concatenate([roof, wall]),
            across=np.concatenate([oral_across, spine.anterior(level)]),
            gap=np.concatenate([self._oral_gap(oral_station), gap]),
            level=np.concatenate([np.full(NUM_ORAL, np.nan), level]),
        )

    def _pharyngeal_gap(self, level: np.ndarray, station: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gap in pharynx, sphincter and oesophagus, and how far the posterior wall comes forward."""
        state, swallow = self.state, self.swallow
        rest = self._resting_gap(level)
        behind = 1.0 - smoothstep(station, state.tail - 0.05, state.tail + 0.07)
        shut = state.constriction * behind * (1 - state.release) * float(smoothstep(state.tail, 0.27, 0.33))
        inside = 1.0 - smoothstep(station, state.head - 0.02, state.head + 0.03)
        inside = inside * smoothstep(station, state.tail - 0.02, state.tail + 0.04)
        hypopharynx = smoothstep(station, 0.48, 0.58)
        opened = rest + 5.5 * swallow.bolus_thickness * inside * hypopharynx * state.ues
        pharynx_gap = np.maximum(opened * (1.0 - shut), 0.25)
        segment = np.clip((station - PHARYNX_END) / (UES_END - PHARYNX_END), 0.0, 1.0)
        waist = 1.0 - 0.25 * np.sin(np.pi * segment)
        ues_gap = np.maximum(swallow.ues_opening_mm * state.ues * waist, 0.15)
        oesophagus_gap = 0.15 + 8.0 * swallow.bolus_thickness * inside
        gap = np.where(station < PHARYNX_END, pharynx_gap, ues_gap)
        blend = smoothstep(station, UES_END - 0.03, UES_END + 0.05)
        gap = gap * (1 - blend) + oesophagus_gap * blend
        wall_shift = np.where(station < PHARYNX_END, 0.4 * rest * shut, 0.0)
        return gap, wall_shift * smoothstep(station, ORAL_END - 0.03, ORAL_END + 0.06)

    def _nasopharynx_levels(self) -> np.ndarray:
        """Of the posterior wall from the uvula up."""
        return np.linspace(1.9, 0.25 - self.head_lift, 24)

    @cached_property
    def nasopharynx(self) -> Points:
        """Air between the skull base, the velum's upper surface and the posterior wall."""
        top = self.velum_top
        level = self._nasopharynx_levels()
        wall = self.spine.point(level, self._posterior_wall(level))
        choana = self.anatomy.head.place([(112, 42), (124, 43), (131, 48)])
        return np.concatenate([top, wall, choana])

    @cached_property
    def pharynx(self) -> Points:
        """Lumen from the nasopharynx to the upper oesophageal sphincter, air or bolus."""
        channel, nasopharynx = self.channel, self.nasopharynx
        last = NUM_ORAL + NUM_PHARYNX
        wall, floor = channel.wall[NUM_ORAL:last], channel.floor[NUM_ORAL:last]
        top = self.velum_top
        # nasopharynx: velum (palate to uvula) and wall (low to high), then the choana
        naso_wall = nasopharynx[30:54]
        keep = self._nasopharynx_levels() < 1.70
        return np.concatenate([top, floor[2:], wall[::-1], naso_wall[keep], nasopharynx[54:]])

    @cached_property
    def tongue(self) -> Points:
        """Outline from the tip over dorsum and base to the vallecula, back along the floor of the mouth."""
        vallecula = NUM_ORAL + int(NUM_PHARYNX * (3.72 - 1.75) / (UES_TOP_LEVEL - 1.75))
        dorsum = self.channel.floor[:vallecula]
        pivot = self.anatomy.head.place([(131, 104), (150, 104), (166, 101), (173, 93), (174, 84)])
        chin = pivot + np.array([-0.2, 1.0]) * (self.state.jaw * 0.8)
        forward = self.spine.anterior(3.5)
        floor = np.concatenate([[self.hyoid_center - 4.0 * forward], [self.hyoid_center + np.array([1.0, -4.0])], chin])
        upper = np.concatenate([smooth_open(dorsum[3 : NUM_ORAL + 6 : 3], 40), dorsum[NUM_ORAL + 6 :]])
        back = smooth_open(np.concatenate([upper[-1:], floor, upper[:1]]), 50)
        return np.concatenate([upper, back[1:-1]])

    @cached_property
    def epiglottis_line(self) -> Points:
        """Center line from the petiole to the tip; inversion folds it back and down over the larynx."""
        base = self.larynx_point(4.45, 35.0)
        inverted = self.state.epiglottis
        length = 25.0
        heading = np.deg2rad(-112.0 + 0.5 * self.patient.lean - 118.0 * inverted)
        bend = np.deg2rad(-14.0 - 38.0 * np.sin(np.pi * min(inverted, 1.0)) - 10.0 * inverted)
        angles = heading + bend * np.linspace(0.0, 1.0, 20) ** 1.5
        steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * length / 19
        return base + np.concatenate([np.zeros((1, 2)), np.cumsum(steps[:-1], axis=0)])

    @cached_property
    def epiglottis(self) -> Points:
        """A leaf, thickest at its base."""
        line = self.epiglottis_line
        width = np.interp(np.linspace(0, 1, 20), [0, 0.15, 0.6, 0.92, 1], [1.9, 2.3, 2.0, 1.6, 0.7])
        return ribbon(line, width)

    @cached_property
    def vestibule(self) -> Points | None:
        """Air between the epiglottis and the arytenoids, above the vocal folds; None when shut."""
        opened = 1.0 - self.state.vestibule
        if opened < 0.12:
            return None
        line = self.epiglottis_line
        arytenoid = self.larynx_point(4.5, 26.0)
        drop = self.patient.glottis_drop
        fold_back, fold_front = self.larynx_point(5.0 + drop, 26.5), self.larynx_point(5.02 + drop, 40.0)
        front = line[:16:5] + np.array([-1.8, 1.2])
        back = np.array([arytenoid + np.array([0.5, -1.0]), 0.5 * (arytenoid + fold_back), fold_back])
        bottom = np.array([fold_front])
        # Closure draws the posterior side towards the epiglottis.
        target = front[[3, 1, 0]]
        back = target + (back - target) * opened
        return rounded(np.concatenate([front[::-1], bottom, back[::-1]]), 0.4)

    @cached_property
    def glottis(self) -> Points:
        """The space from above to below the vocal folds; not labeled."""
        corners = ((5.0, 27.0), (5.0, 39.5), (5.3, 38.5), (5.3, 27.5))
        return np.array([self.larynx_point(level + self.patient.glottis_drop, d) for level, d in corners])

    @cached_property
    def trachea(self) -> Points:
        """Air column below the vocal folds, down to where the shoulder hides it."""
        drop = self.patient.glottis_drop
        level = np.linspace(5.1 + drop, 8.2, 28)
        moved = level - self.lift * np.interp(level, [5.1, 8.2], [1.0, 0.25])
        # A cone under the folds widens to the tube; the lower end is rounded, as it fades behind the shoulder.
        knots = [5.1 + drop, 5.22 + drop, 5.4 + drop, 5.6 + drop, 6.3 + drop, 7.9, 8.2]
        back = PchipInterpolator(knots, [31.0, 27.8, 25.8, 25.0, 24.0, 23.2, 26.0])(level) + self.forward
        front = PchipInterpolator(knots, [36.0, 38.8, 40.2, 41.0, 41.5, 40.2, 37.0])(level) + self.forward
        return np.concatenate([self.spine.point(moved, back), self.spine.point(moved, front)[::-1]])

    @cached_property
    def ues(self) -> Points:
        """The sphincter segment: its walls when shut, with the lumen between them when open."""
        channel = self.channel
        part = slice(NUM_ORAL + NUM_PHARYNX - 1, NUM_ORAL + NUM_PHARYNX + NUM_UES)
        wall, floor, across = channel.wall[part], channel.floor[part], channel.across[part]
        margin = CLOSED_UES_MM / 2
        return np.concatenate([wall - across * margin, (floor + across * margin)[::-1]])

    @cached_property
    def thyroid(self) -> Points:
        """Thyroid cartilage, a faint oblique plate in front of the vocal folds."""
        corners = [(4.35, 46.0), (4.4, 34.0), (5.35, 30.0), (5.4, 44.0), (5.0, 48.0)]
        return smooth_closed([self.larynx_point(level, d) for level, d in corners], 40)

    @cached_property
    def cricoid(self) -> Points:
        """Lamina of the cricoid behind the airway, in front of the sphincter."""
        line = smooth_open([self.larynx_point(level, d) for level, d in ((4.85, 24.5), (5.3, 23.5), (5.75, 22.5))], 14)
        return ribbon(line, np.interp(np.linspace(0, 1, 14), [0, 0.5, 1], [1.2, 2.4, 1.5]))

    @cached_property
    def residue(self) -> list[Points]:
        """Pools that stay in the valleculae and above the sphincter."""
        channel, amount = self.channel, self.state.residue
        pools = []
        valleculae = self.swallow.vallecular_residue * amount
        if valleculae > 0.06:
            low, high = 3.92, 3.92 - 0.75 * valleculae
            level = np.linspace(low, high, 16)
            depth = 1.5 + 7.5 * np.linspace(0.4, 1.0, 16) * np.sqrt(valleculae)
            station = ORAL_END + (level - 1.75) / (UES_TOP_LEVEL - 1.75) * (PHARYNX_END - ORAL_END)
            floor = np.stack([np.interp(station, channel.station, channel.floor[:, i]) for i in (0, 1)], axis=1)
            gap = np.interp(station, channel.station, channel.gap)
            forward = self.spine.anterior(self._follow(level))
            inner = floor - forward * np.minimum(depth, np.maximum(gap, 1.5))[:, None]
            pools.append(np.concatenate([floor, inner[::-1]]))
        pyriform = self.swallow.pyriform_residue * amount
        if pyriform > 0.06:
            low = PHARYNX_END - 0.002
            pool = channel_outline(channel, low - 0.075 * np.sqrt(pyriform), low, 0.95)
            pools.append(pool)
        return pools

    @cached_property
    def airway_bolus(self) -> list[Points]:
        """Contrast that entered the airway: along the epiglottis' laryngeal side, then below the folds."""
        swallow, amount = self.swallow, self.state.airway
        if not swallow.penetration or amount < 0.15:
            return []
        line = self.epiglottis_line[:9]
        reach = self.larynx_point(4.4 + (0.52 + self.patient.glottis_drop) * amount, 37.0)
        streak = smooth_open([line[6] + np.array([-2.5, 1.5]), line[2] + np.array([-2.8, 1.8]), reach], 16)
        pools = [ribbon(streak, np.linspace(0.9, 1.6, 16) + 0.4 * np.sin(np.linspace(0.0, 9.0, 16)))]
        if swallow.aspiration and amount > 0.5:
            top = 5.15 + self.patient.glottis_drop
            level = np.linspace(top, top + 2.1 * (amount - 0.4), 20)
            moved = level - self.lift * np.interp(level, [5.1, 8.2], [1.0, 0.25])
            line = self.spine.point(moved, 38.0 + self.forward + 0.8 * np.sin(2.5 * level))
            pools.append(ribbon(line, 0.6 + 0.9 * np.linspace(0, 1, 20) + 0.35 * np.sin(6.0 * level)))
        return pools
