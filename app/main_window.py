"""The window: builds the parts, and makes every connection. The wiring diagram of Limn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from PySide6.QtCore import QEvent, Qt, QTimer, Slot
from PySide6.QtGui import QAction, QCloseEvent, QKeyEvent
from PySide6.QtWidgets import QApplication, QMainWindow, QVBoxLayout, QWidget

from app import assets, commands, errors, theme
from app.applying import Applying
from app.choosing import Choosing
from app.collector import Collector
from app.contrast_desk import ContrastDesk
from app.dialogs import CommandPalette, ShortcutSheet
from app.display import swatches
from app.document import FIRST_CELL_CLASS, Document, Tool
from app.endings import Endings
from app.engine import Engine
from app.exporting import Exporting
from app.files import Files
from app.focus import PanelFocus
from app.gallery import Gallery
from app.habits import Habits
from app.history_desk import HistoryDesk
from app.images_desk import ImagesDesk
from app.importing import Importing
from app.leaving import Leaving, end_hard
from app.memory import Memory
from app.messages import Message, MessageBar, ProgressStrip
from app.minimap import Minimap
from app.object_count import ObjectCounter
from app.orthogonal import OrthogonalDesk
from app.panels.brush import BrushPanel
from app.panels.classes import ClassesPanel
from app.panels.contrast import ContrastPanel
from app.panels.history import HistoryPanel, edit_name
from app.panels.images import ImagesPanel
from app.panels.navigator import NavigatorPanel
from app.panels.orthogonal import OrthogonalPanel
from app.panels.prediction import PredictionPanel
from app.panels.training import TrainingPanel
from app.playing import Player
from app.preferences import PreferencesDialog
from app.recovery_desk import RecoveryDesk
from app.regions import Regions
from app.reports import end_watch, log_to_file, watch_crashes
from app.requests import Applied, Exported
from app.saver import Saver
from app.saving_desk import SavingDesk
from app.settings import Settings
from app.status_bar import StatusBar, label_text, pixel_shape_text
from app.tool_commands import ToolCommands
from app.training_desk import TrainingDesk
from app.viewport import ZOOM_PER_STEP, Viewport
from app.work import Work
from unet_core.annotation import ClassInfo, Edit
from unet_core.export import DEFAULT_MIN_SIZE
from unet_core.tiling import Rect

SWITCHES = (("apart", "Cells apart"), ("keep_others", "Keep others"), ("smooth", "Smooth"))
"""Commands that the brush panel shows, under shorter names."""

FLUSH_SECONDS = 5.0

SMOOTHING = 12.0
"""How far strokes are smoothed, in screen pixels."""


class MainWindow(QMainWindow):
    """All parts hang on the window: `document`, `viewport`, `engine`, `saver` and the panels."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("mainWindow")
        self.setWindowTitle("Limn")
        self.settings = Settings()
        self.document = Document(self)
        self.viewport = Viewport(self.document)
        self.engine = Engine(self)
        self.saver = Saver(self)
        self.centre = QWidget()
        self.messages = MessageBar(self.centre)
        self.strip = ProgressStrip()
        self.navigator = NavigatorPanel()
        self.classes = ClassesPanel()
        self.training = TrainingPanel()
        self.prediction = PredictionPanel()
        self.contrast = ContrastPanel()
        self.history = HistoryPanel()
        self.sides = OrthogonalPanel()
        self.status = StatusBar(self.strip)
        self.files = Files(
            self,
            self.document,
            self.engine,
            self.saver,
            self.settings,
            self.messages,
            self.strip,
        )
        self.saving = SavingDesk(self.files, self.saver, self.status, self.messages, self)
        self.leaving = Leaving(self, self.saver, self.document, self.files)
        self.recovery = RecoveryDesk(self, self.files, self.messages)
        self.counter = ObjectCounter(self.viewport.prediction_layer, self)
        self.tools = ToolCommands(self.document, self)
        self.actions_by_id = commands.build_actions(self, self.viewport)
        self.brush = BrushPanel([(self.actions_by_id[name], text) for name, text in SWITCHES])
        self.habits = Habits(self.actions_by_id, self.viewport, self.settings, self)
        self.desk = TrainingDesk(self.document, self.engine, self.training, self)
        self.contrast_desk = ContrastDesk(self.document, self.viewport, self.contrast, self)
        self.history_desk = HistoryDesk(self.document, self.history, self)
        self.choosing = Choosing(self, self.document, self.files, self.settings, self.messages)
        self.gallery = Gallery(
            self,
            self.document,
            self.engine,
            self.saver,
            self.files,
            self.settings,
            self.messages,
            self.strip,
        )
        self.images = ImagesPanel([self.actions_by_id[n] for n in ("add_images", "add_folder")])
        self.images_desk = ImagesDesk(self.document, self.gallery, self.images, self)
        self.minimap = Minimap(self.viewport)
        self.player = Player(self.document, self.viewport, self)
        self.orthogonal = OrthogonalDesk(self.document, self.viewport, self.sides, self)
        self.exporting = Exporting(
            self,
            self.document,
            self.engine,
            self.settings,
            self.prediction,
            self.messages,
            self.strip,
        )
        self.applying = Applying(
            self,
            self.document,
            self.engine,
            self.files,
            self.prediction,
            self.messages,
            self.strip,
        )
        self.importing = Importing(self, self.document, self.settings, self.messages, self.strip)
        self.memory = Memory(
            self,
            self.document,
            self.viewport,
            self.prediction,
            self.saver,
            self.files,
            self.settings,
        )
        self.regions = Regions(self.document, self.viewport.prediction_layer, self)
        self._known_classes: tuple[ClassInfo, ...] = ()
        self._place: tuple[int, int] | None = None
        self._leaving = False
        self._running = 0
        self._saver_done = False
        self._lay_out()
        self.focus = PanelFocus(self._stops(), self)
        self._connect()
        for name in ("live", "show_annotation", "show_prediction", "show_image"):
            self.actions_by_id[name].setChecked(True)
        self.actions_by_id["minimap"].setChecked(self.settings.minimap)
        self.memory.restore_settings()
        self.habits.restore()
        self._update_all()

    def _lay_out(self) -> None:
        commands.build_menus(self, self.actions_by_id)
        self.bar = commands.build_toolbar(self, self.actions_by_id)
        column = QVBoxLayout(self.centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.viewport, 1)
        column.addWidget(self.navigator)
        self.setCentralWidget(self.centre)
        self.setStatusBar(self.status)
        for panel in (self.classes, self.brush, self.training, self.prediction):
            self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, panel)
        # On the other side: the right one is full on a small screen.
        for side in (self.images, self.contrast, self.history, self.sides):
            self.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, side)
            side.hide()
        self._apply_theme()
        self.viewport.setFocus()

    def _stops(self) -> list[QWidget]:
        """The parts of the window, in the order in which F6 goes through them."""
        left = (self.images, self.contrast, self.history, self.sides)
        right = (self.classes, self.brush, self.training, self.prediction)
        return [self.viewport, self.messages, self.navigator, *right, *left, self.status, self.bar]

    # --- every connection ------------------------------------------------------------------------

    def _connect(self) -> None:
        document, viewport, engine, saver = self.document, self.viewport, self.engine, self.saver
        # Commands
        does = {
            "open": self.files.ask_open,
            "open_folder": self.choosing.ask_folder,
            "choose": self.choosing.choose_again,
            "add_images": self.gallery.ask_files,
            "add_folder": self.gallery.ask_folder,
            "image_previous": self.gallery.previous,
            "image_next": self.gallery.next,
            "review": self.gallery.toggle_reviewed,
            "save": self.files.save,
            "save_as": self.files.ask_save_as,
            "save_copy": self.files.ask_save_copy,
            "compact": self.files.compact,
            "recover": self.recovery.show_all,
            "export": self.exporting.ask,
            "apply_folder": self.applying.ask,
            "import_masks": self.importing.ask,
            "predict_all": self.exporting.ask_probability,
            "quit": self.close,
            "undo": document.undo,
            "redo": document.redo,
            "preferences": self._show_preferences,
            "fit": viewport.fit,
            "zoom_actual": viewport.zoom_actual,
            "focus_next": self.focus.next,
            "focus_previous": self.focus.previous,
            "auto_contrast": self.contrast_desk.auto_visible,
            "train": self.desk.train,
            "stop": self.desk.stop,
            "palette": self._show_palette,
            "shortcuts": self._show_shortcuts,
            "new_object": document.begin_object,
            "interpolate": self.regions.interpolate,
            "next_place": self.regions.next_place,
            "previous_place": self.regions.previous_place,
            "accept_all": self.regions.accept_all,
            "label_style": viewport.next_label_style,
            "class_foreground": self.tools.use_foreground,
            "class_background": self.tools.use_background,
            "class_swap": self.tools.swap_class,
            "class_next": self.tools.next_class,
            "class_add": self.tools.add_class,
        }
        # These carry a number, which `tools.step` finds in the action.
        steps: dict[str, tuple[Callable[[Any], None], float]] = {
            "zoom_in": (viewport.zoom_by, ZOOM_PER_STEP),
            "zoom_out": (viewport.zoom_by, 1 / ZOOM_PER_STEP),
            "z_previous": (self.tools.step_slices, -1),
            "z_next": (self.tools.step_slices, 1),
            "z_back": (self.tools.step_slices, -10),
            "z_forward": (self.tools.step_slices, 10),
            "z_first": (self.tools.choose_slice, 0),
            "z_last": (self.tools.choose_slice, sys.maxsize),
            "t_previous": (document.step_t, -1),
            "t_next": (document.step_t, 1),
            "brush_smaller": (document.step_brush, -1),
            "brush_larger": (document.step_brush, 1),
            "threshold_down": (self.prediction.step_threshold, -8),
            "threshold_up": (self.prediction.step_threshold, 8),
            "threshold_down_fine": (self.prediction.step_threshold, -1),
            "threshold_up_fine": (self.prediction.step_threshold, 1),
        }
        steps |= {f"class_{n}": (document.set_active_class, n) for n in range(1, 10)}
        actions = self.actions_by_id
        for name, do in does.items():
            actions[name].triggered.connect(do)
        for name, step in steps.items():
            actions[name].setData(step)
            actions[name].triggered.connect(self.tools.step)
        for n in range(1, 10):
            actions[f"channel_{n}"].setData(n - 1)
            actions[f"channel_{n}"].triggered.connect(self.tools.toggle_channel)
        for name in get_args(Tool):
            actions[name].setData(name)
            actions[name].triggered.connect(self.tools.choose_tool)
        for name in ("annotation", "prediction", "image"):
            actions[f"show_{name}"].toggled.connect(self._show_layers)
            actions[f"show_{name}"].triggered.connect(self.tools.peek)
            actions[f"show_{name}"].toggled.connect(self.orthogonal.show_labels)
        actions["label_style"].triggered.connect(self.orthogonal.show_labels)
        for name, at_cursor in (
            ("cut_here", self.orthogonal.cut_at),
            ("accept", self.regions.accept),
            ("delete_object", self.regions.delete),
        ):
            actions[name].setData(at_cursor)
            actions[name].triggered.connect(self._do_at_cursor)
        for name in ("heat", "uncertainty", "prediction_outline"):
            actions[name].setData(name.removeprefix("prediction_"))
            actions[name].triggered.connect(self._choose_prediction_style)
        for name in ("apart", "keep_others", "lock_class", "show_class", "smooth", "pressure"):
            actions[name].triggered.connect(self._choose_options)
        actions["live"].toggled.connect(self._set_live)
        actions["contrast"].toggled.connect(self.contrast.setVisible)
        self.contrast.toggleViewAction().toggled.connect(actions["contrast"].setChecked)
        actions["orthogonal"].toggled.connect(self.sides.setVisible)
        self.sides.toggleViewAction().toggled.connect(actions["orthogonal"].setChecked)
        self.sides.visibilityChanged.connect(self.orthogonal.set_seen)
        self.sides.xz_chosen.connect(self.orthogonal.choose_xz)
        self.sides.yz_chosen.connect(self.orthogonal.choose_yz)
        actions["minimap"].toggled.connect(self._set_minimap)
        actions["play"].triggered.connect(self.player.set_playing)
        self.player.playing_changed.connect(actions["play"].setChecked)
        self.navigator.play.setDefaultAction(actions["play"])
        self.navigator.rate_chosen.connect(self.player.set_rate)
        self.navigator.rate.lineEdit().returnPressed.connect(viewport.setFocus)
        actions["images"].toggled.connect(self.images.setVisible)
        self.images.toggleViewAction().toggled.connect(actions["images"].setChecked)
        actions["history"].toggled.connect(self.history.setVisible)
        self.history.toggleViewAction().toggled.connect(actions["history"].setChecked)
        # Panels
        self.navigator.z_chosen.connect(self.tools.choose_z)
        self.navigator.t_chosen.connect(self.tools.choose_t)
        self.navigator.channel_toggled.connect(document.set_channel_visible)
        self.classes.class_chosen.connect(document.set_active_class)
        self.classes.rename_requested.connect(document.rename_class)
        self.classes.recolor_requested.connect(document.recolor_class)
        self.classes.add_requested.connect(self.tools.add_class)
        self.classes.delete_requested.connect(self.regions.delete_class)
        self.classes.hide_requested.connect(document.set_hidden)
        self.classes.lock_requested.connect(document.set_locked)
        self.brush.diameter_chosen.connect(document.set_brush_diameter)
        self.brush.spin.lineEdit().returnPressed.connect(viewport.setFocus)
        self.training.train_requested.connect(self.desk.train)
        self.training.stop_requested.connect(self.desk.stop)
        self.training.start_chosen.connect(self.desk.choose_start)
        self.prediction.live_toggled.connect(actions["live"].setChecked)
        self.prediction.threshold_chosen.connect(self._set_threshold)
        self.prediction.opacity_chosen.connect(self._set_opacity)
        self.contrast.display_chosen.connect(document.set_display)
        self.contrast.auto_requested.connect(self.contrast_desk.auto)
        self.contrast.reset_requested.connect(self.contrast_desk.reset)
        for box in (self.contrast.low, self.contrast.high):
            box.lineEdit().returnPressed.connect(viewport.setFocus)
        self.strip.cancel_requested.connect(engine.stop)
        self.strip.cancel_requested.connect(self.files.cancel)
        self.strip.cancel_requested.connect(self.gallery.cancel)
        self.strip.cancel_requested.connect(self.importing.cancel)
        # Document
        document.project_changed.connect(self.desk.another_project)
        document.project_changed.connect(self.training.reset)
        document.project_changed.connect(self.gallery.project_changed)
        document.project_changed.connect(self.images_desk.project_changed)
        document.stack_changed.connect(self._update_all)
        document.stack_changed.connect(self.contrast_desk.another_image)
        document.stack_changed.connect(self.orthogonal.another_image)
        document.stack_changed.connect(self.minimap.show_plane)
        document.plane_changed.connect(self._update_plane)
        document.plane_changed.connect(self.orthogonal.plane_changed)
        document.plane_changed.connect(self.memory.view_changed)
        document.edited.connect(self._record)
        document.edited.connect(self.memory.view_changed)
        document.undone.connect(self._record_undo)
        document.redone.connect(self._record_redo)
        document.history_changed.connect(self._update_commands)
        document.history_changed.connect(self.orthogonal.refresh)
        document.history_changed.connect(self.messages.clear_hints)
        document.plane_changed.connect(self.messages.clear_hints)
        document.plane_changed.connect(self._leave_place)
        for painted in (viewport.stroke_begun, document.edited, document.undone, document.redone):
            painted.connect(self._show_paint)
        document.classes_changed.connect(self.orthogonal.show_labels)
        document.options_changed.connect(self.orthogonal.show_labels)
        document.channels_changed.connect(self.orthogonal.refresh)
        document.counts_changed.connect(self._update_counts)
        document.counts_changed.connect(self.desk.labels_changed)
        document.counts_changed.connect(self.gallery.labels_changed)
        document.classes_changed.connect(self._update_classes)
        document.tool_changed.connect(self._update_tool)
        document.options_changed.connect(self._update_options)
        document.channels_changed.connect(self._update_channels)
        document.channels_changed.connect(self.contrast_desk.show_displays)
        document.channels_changed.connect(self.memory.view_changed)
        # Viewport
        viewport.view_changed.connect(self._view_moved)
        viewport.hover.connect(self._show_pixel)
        viewport.files_dropped.connect(lambda paths: self.gallery.open_all(paths, ask=True))
        viewport.view_changed.connect(self.minimap.follow_view)
        viewport.plane_shown.connect(self.minimap.show_plane)
        viewport.plane_failed.connect(self.minimap.show_plane)
        viewport.plane_shown.connect(self._count)
        viewport.plane_measured.connect(self.contrast_desk.plane_measured)
        viewport.plane_failed.connect(self.messages.show_error)
        viewport.plane_incomplete.connect(self.messages.show_error)
        viewport.fill_asked.connect(self.regions.fill)
        viewport.delete_asked.connect(self.regions.delete)
        viewport.sketched.connect(self.regions.carry_out)
        # Engine
        engine.tiles_ready.connect(self._take_tiles)
        engine.predictions_stale.connect(viewport.mark_prediction_stale)
        engine.predictions_stale.connect(self._show_network)
        engine.training_started.connect(self.desk.started)
        engine.training_progress.connect(self.desk.progressed)
        engine.training_finished.connect(self.desk.finished)
        engine.model_trained.connect(saver.put_model)
        engine.export_progress.connect(self.exporting.progressed)
        engine.export_finished.connect(self.exporting.finished)
        engine.export_finished.connect(self._mark_predicted)
        engine.apply_finished.connect(self._mark_applied)
        engine.apply_progress.connect(self.applying.progressed)
        engine.apply_finished.connect(self.applying.finished)
        engine.failed.connect(self.messages.show_error)
        engine.said.connect(self._tell)
        engine.start_changed.connect(self.training.set_start)
        engine.busy_changed.connect(self._show_network)
        engine.busy_changed.connect(self.desk.engine_busy)
        engine.busy_changed.connect(self.exporting.engine_busy)
        engine.busy_changed.connect(self.applying.engine_busy)
        engine.busy_changed.connect(self.files.engine_busy)
        engine.device_found.connect(self.training.set_device)
        engine.finished.connect(self._part_finished)
        # Saver and files
        saver.pending.connect(self.saving.pending)
        saver.saved.connect(self.saving.saved)
        saver.pending.connect(self.files.written)
        saver.stuck.connect(self.saving.stuck)
        saver.stuck.connect(self.files.not_written)
        saver.failed.connect(self.saving.failed)
        saver.said.connect(self._tell)
        saver.opened.connect(self.files.project_opened)
        saver.open_failed.connect(self.files.project_failed)
        saver.named.connect(self.files.project_named)
        saver.images_added.connect(self.gallery.added)
        saver.image_loaded.connect(self.gallery.loaded)
        saver.image_not_loaded.connect(self.gallery.not_loaded)
        saver.finished.connect(self._saver_finished)
        self.leaving.given_up.connect(self._saver_finished)
        self.files.title_changed.connect(self.setWindowTitle)
        self.files.listed.connect(self.gallery.opened)
        self.files.several.connect(self.gallery.begin_with)
        self.files.which.connect(self.choosing.ask)
        self.files.opened.connect(self.choosing.image_opened)
        self.choosing.finished.connect(self._part_finished)
        self.files.opened.connect(self._opened)
        self.files.located.connect(viewport.fit)
        self.files.located.connect(self.gallery.located)
        self.files.finished.connect(self._part_finished)
        self.recovery.finished.connect(self._part_finished)
        # The rest
        self.habits.changed.connect(self._show_habits)
        for leaving in (self.regions.cancel, self.history_desk.stop, self.importing.cancel):
            self.gallery.leaving.connect(leaving)
        self.gallery.leaving.connect(self.desk.image_leaving)
        self.gallery.shown.connect(viewport.fit)
        self.gallery.changed.connect(self._update_gallery)
        self.gallery.finished.connect(self._part_finished)
        self.images_desk.finished.connect(self._part_finished)
        self.files.leaving.connect(self.memory.write_view)
        self.files.leaving.connect(self.regions.cancel)
        self.files.leaving.connect(self.history_desk.stop)
        self.files.leaving.connect(self.importing.cancel)
        self.files.leaving.connect(self.gallery.cancel)
        self.importing.finished.connect(self._part_finished)
        self.regions.finished.connect(self._part_finished)
        self.regions.told.connect(self._hint)
        self.regions.failed.connect(self.messages.show_error)
        self.regions.place_found.connect(self._go_to_place)
        self.regions.asked.connect(self._ask)
        self.desk.reason_changed.connect(self._update_commands)
        self.counter.counted.connect(self.prediction.set_objects)
        self.counter.finished.connect(self._part_finished)
        self.orthogonal.finished.connect(self._part_finished)

    # --- what the document says ------------------------------------------------------------------

    @Slot()
    def _update_all(self) -> None:
        """Another image, or none."""
        stack = self.document.stack
        self.prediction.set_objects(None)
        self.navigator.set_size(*(stack.shape[:2] if stack is not None else (1, 1)))
        names = stack.channel_names if stack is not None else ()
        self.navigator.set_channels(names, self._channel_colors(), self.document.visible_channels)
        self._update_channels()
        self._update_plane()
        self._update_classes()
        self._update_tool()

    @Slot(object)
    def _record(self, edit: Edit) -> None:
        self.saver.record(edit, self.document.image)

    @Slot()
    def _record_undo(self) -> None:
        self.saver.record_undo(self.document.image)

    @Slot()
    def _record_redo(self) -> None:
        self.saver.record_redo(self.document.image)

    @Slot(str, object, object)
    def _mark_predicted(self, _sentence: str, path: Path | None, done: Exported | None) -> None:
        if path is None or done is None:
            return
        request = done.request
        if request.predicted and request.plane is None and request.what != "model":
            self.gallery.mark(self.document.image, "predicted", True)

    @Slot(object)
    def _mark_applied(self, done: Applied | None) -> None:
        if done is not None and done.request.source != "annotation":
            written = {one.task.image for one in done.outcomes if not one.error}
            for entry in list(self.gallery.entries):
                if entry.path in written:
                    self.gallery.mark(entry.id, "predicted", True)

    @Slot()
    def _update_gallery(self) -> None:
        entry = self.gallery.entry
        self.actions_by_id["review"].setChecked(entry is not None and entry.reviewed)
        self._update_commands()

    @Slot()
    def _update_plane(self) -> None:
        # The engine hears of it when the plane is on the screen: reading it comes first.
        self.navigator.set_plane(*self.document.plane)

    def _channel_colors(self) -> list[str]:
        stack = self.document.stack
        is_rgb = stack is not None and stack.is_rgb
        return swatches(self.document.displays, is_rgb=is_rgb)

    @Slot()
    def _update_channels(self) -> None:
        visible = self.document.visible_channels
        self.navigator.show_channels(visible)
        self.navigator.show_colors(self._channel_colors())
        for n in range(1, 10):
            self.actions_by_id[f"channel_{n}"].setChecked(n <= len(visible) and visible[n - 1])

    @Slot()
    def _update_classes(self) -> None:
        classes = self.document.classes
        self.classes.set_classes(classes, self.document.active_class)
        self.history.show_classes(classes)
        for n in range(1, 10):
            known = n <= len(classes)
            self.actions_by_id[f"class_{n}"].setText(classes[n - 1].name if known else f"Class {n}")
        if self.document.stack is not None and tuple(classes) != self._known_classes:
            self._known_classes = tuple(classes)
            self.engine.set_classes(classes)
            self.saver.put_classes(classes)
        self._update_counts()
        self._update_options()

    @Slot()
    def _update_counts(self) -> None:
        annotation, history = self.document.annotation, self.document.history
        self._show_pixel(self.viewport.hovered)
        self.classes.set_counts(annotation.counts(), annotation.object_counts(), history.strokes)
        self.desk.update_reason()

    @Slot()
    def _update_tool(self) -> None:
        self.brush.set_diameter(self.document.brush_diameter)
        self.actions_by_id[self.document.tool].setChecked(True)

    @Slot()
    def _update_options(self) -> None:
        document, actions = self.document, self.actions_by_id
        actions["apart"].setChecked(document.apart)
        actions["keep_others"].setChecked(document.keep_others)
        actions["lock_class"].setChecked(document.active_class in document.locked)
        actions["show_class"].setChecked(document.active_class not in document.hidden)
        self.classes.set_switches(document.hidden, document.locked)
        actions["smooth"].setChecked(document.smoothing > 0)

    @Slot()
    def _choose_options(self) -> None:
        """One of the checkable commands about strokes was chosen."""
        document, actions = self.document, self.actions_by_id
        names = ("apart", "keep_others", "lock_class", "show_class", "smooth", "pressure")
        # All of them first: the document's answer to one sets the others back.
        apart, keep_others, locked, shows, smooth, pressure = (
            actions[n].isChecked() for n in names
        )
        document.set_option("apart", apart)
        document.set_option("keep_others", keep_others)
        document.set_locked(document.active_class, locked)
        document.set_hidden(document.active_class, not shows)
        document.set_smoothing(SMOOTHING if smooth else 0)
        self.viewport.pressure_sizes = pressure

    @Slot()
    def _show_paint(self) -> None:
        """Nobody paints blindly: what changes shows. A key held to look below it is let be."""
        show = self.actions_by_id["show_annotation"]
        if not show.isChecked() and not self.tools.hold.holds(show):
            show.setChecked(True)
        if self.document.stroking:
            self.document.set_hidden(self.document.active_class, False)

    @Slot()
    def _do_at_cursor(self) -> None:
        """Call the action's function with the image point under the cursor; without a mouse, with
        the place that was gone to last, if it is still in view."""
        pixel = self.viewport.hovered or self._place
        if pixel is None or Rect(*pixel, 1, 1).intersect(self.viewport.visible_rect()).empty:
            self._hint(
                "Point into the image first, or go to the next place to annotate by its key."
            )
        else:
            cast(QAction, self.sender()).data()(pixel[0] + 0.5, pixel[1] + 0.5)

    @Slot(int, int)
    def _go_to_place(self, y: int, x: int) -> None:
        self._place = y, x
        self.viewport.centre_on(y, x)

    @Slot()
    def _leave_place(self) -> None:
        self._place = None

    @Slot()
    def _choose_prediction_style(self) -> None:
        """Switch to the action's style, or back to areas."""
        chosen = cast(QAction, self.sender())
        for name in ("heat", "uncertainty", "prediction_outline"):
            action = self.actions_by_id[name]
            action.setChecked(action is chosen and chosen.isChecked())
        self.viewport.set_prediction_style(chosen.data() if chosen.isChecked() else "fill")

    @Slot()
    def _update_commands(self) -> None:
        """Enable what can be done now, and say on the Train button why it can not be pressed."""
        stack, reason = self.document.stack, self.desk.reason
        there = {
            "": True,
            "stack": stack is not None,
            "undo": self.document.history.can_undo,
            "redo": self.document.history.can_redo,
            "z": stack is not None and stack.shape[1] > 1,
            "t": stack is not None and stack.shape[0] > 1,
            "planes": stack is not None and stack.shape[0] * stack.shape[1] > 1,
            "images": len(self.gallery.entries) > 1,
            "train": reason is None,
            "busy": self.engine.busy in ("training", "exporting") or self.desk.learning,
        }
        for n in range(1, 10):
            there[f"class_{n}"] = stack is not None and n <= len(self.document.classes)
            there[f"channel_{n}"] = stack is not None and n <= len(self.document.visible_channels)
        for command in commands.COMMANDS:
            self.actions_by_id[command.id].setEnabled(there[command.needs])
        history = self.document.history
        for name, text, step in (
            ("undo", "Undo", history.position - 1),
            ("redo", "Redo", history.position),
        ):
            if there[name]:
                text = f"{text} {edit_name(history.step(step).kind).lower()}"
            self.actions_by_id[name].setText(text)
        self.training.set_reason(reason)

    # --- what the viewport says ------------------------------------------------------------------

    @Slot(object)
    def _view_moved(self, rect: Rect) -> None:
        self.engine.set_view(self.document.plane, rect)
        self.status.show_zoom(self.viewport.camera.zoom * self.devicePixelRatioF())
        self.memory.view_changed()

    @Slot(object)
    def _show_pixel(self, pixel: tuple[int, int] | None) -> None:
        stack, shown = self.document.stack, self.viewport.shown
        if pixel is None or stack is None or shown is None:
            self.status.show_pixel(None)
            return
        y, x = pixel
        classes, predicted = self.document.classes, self.viewport.prediction_layer
        value, number = self.document.annotation.label_at(shown.plane, y, x)
        listed = value <= len(classes)
        name = classes[value - 1].name if value and listed else f"class {value}"
        name = name if value else "unlabelled"
        seen: dict[str, float] = {}
        if predicted.plane == shown.plane:
            maps = predicted.read(Rect(y, x, 1, 1))[:, 0, 0]
            cells = [info.name for info in classes[FIRST_CELL_CLASS - 1 :]]
            seen = {cell: int(p) / 255 for cell, p in zip(cells, maps, strict=False)}
        self.status.show_pixel(
            pixel, stack.pixel_size, shown.values_at(y, x), label_text(name, number), seen
        )

    @Slot()
    def _count(self) -> None:
        self.counter.request(self.document.plane_rect, self.viewport.visible_rect())

    @Slot(int)
    def _set_threshold(self, threshold: int) -> None:
        self.viewport.set_threshold(threshold)
        self._count()
        self.memory.view_changed()

    @Slot(int)
    def _set_opacity(self, percent: int) -> None:
        self.viewport.set_opacity(percent / 100)
        self.memory.view_changed()

    @Slot(bool)
    def _set_minimap(self, wanted: bool) -> None:
        self.minimap.set_wanted(wanted)
        self.settings.minimap = wanted

    @Slot()
    def _show_layers(self) -> None:
        actions = self.actions_by_id
        self.viewport.set_label_visible(actions["show_annotation"].isChecked())
        self.viewport.set_prediction_visible(actions["show_prediction"].isChecked())
        self.viewport.set_image_visible(actions["show_image"].isChecked())

    # --- what the engine says --------------------------------------------------------------------

    @Slot()
    def _take_tiles(self) -> None:
        self.viewport.put_tiles(self.engine.take_tiles())
        self._show_pixel(self.viewport.hovered)
        self._count()

    @Slot()
    def _show_network(self) -> None:
        """Say whose prediction is on show."""
        model = self.engine.shown_model
        if self.engine.busy == "training":
            self.prediction.set_learning()
        else:
            self.prediction.set_network(None if model is None else model.provenance.get("steps", 0))

    @Slot(str)
    def _tell(self, sentence: str) -> None:
        self.messages.show_message(Message(sentence, "offer"))

    @Slot(str)
    def _hint(self, sentence: str) -> None:
        self.messages.show_message(Message(sentence, "hint"))

    @Slot(str, str, object)
    def _ask(self, question: str, button: str, do: Callable[[], object]) -> None:
        self.messages.show_message(Message(question, "hint", actions=((button, do),)))

    @Slot(bool)
    def _set_live(self, live: bool) -> None:
        self.prediction.show_live(live)
        self.engine.set_live(live)

    def export_to(self, path: Path, what: str, min_size: int = DEFAULT_MIN_SIZE) -> None:
        """Write a preset of the prediction, or "annotation", of the whole stack to `path`.

        Uses the threshold on show; objects below `min_size` pixels are left out. Runs off the GUI
        thread, replaces an existing file, and ends with `engine.export_finished` or
        `engine.failed`.
        """
        self.exporting.export_to(path, what, min_size)

    # --- what the files say ----------------------------------------------------------------------

    @Slot(object)
    def _opened(self, state: dict[str, Any]) -> None:
        self._known_classes = tuple(self.document.classes)
        stack = self.document.stack
        if stack is not None and (said := pixel_shape_text(stack.pixel_size)):
            self.messages.show_message(Message(said, "done"))
        self.memory.restore_view(state)
        self.viewport.setFocus()

    # --- the window itself -----------------------------------------------------------------------

    def _apply_theme(self) -> None:
        theme.apply(self)
        commands.refresh_icons(self.actions_by_id, self)

    @Slot()
    def _show_palette(self) -> None:
        CommandPalette(self.actions_by_id, self).show()

    @Slot()
    def _show_shortcuts(self) -> None:
        ShortcutSheet(self.habits.sheet(), self).show()

    @Slot()
    def _show_preferences(self) -> None:
        dialog = self.findChild(PreferencesDialog)
        if dialog is None:
            dialog = PreferencesDialog(self.habits, self.actions_by_id, self)
        dialog.show()
        dialog.activateWindow()

    @Slot()
    def _show_habits(self) -> None:
        """Name the keys in force wherever the window does."""
        actions = self.actions_by_id
        self.prediction.live.setToolTip(actions["live"].toolTip())
        sizes = [commands.shown_keys(actions[f"brush_{way}"]) for way in ("smaller", "larger")]
        wheel = ", Shift+wheel" if self.habits.shift_wheel == "brush" else ""
        for widget in (self.brush.spin, self.brush.slider):
            widget.setToolTip(f"Diameter of brush and eraser ({' and '.join(sizes)}{wheel})")
        self.classes.show_keys([commands.shown_keys(actions[f"class_{n}"]) for n in range(1, 10)])
        for sheet in self.findChildren(ShortcutSheet):
            sheet.set_sheet(self.habits.sheet())

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "status"):
            self._apply_theme()
        elif (
            event.type() == QEvent.Type.ActivationChange
            and hasattr(self, "tools")
            and not self.isActiveWindow()
        ):
            self.tools.hold.release()  # the key goes up elsewhere

    def keyPressEvent(self, event: QKeyEvent) -> None:
        message = self.messages.message
        if event.key() == Qt.Key.Key_Escape and message is not None and message.kind != "offer":
            self.messages.dismiss()
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        self.tools.key_released(event)
        super().keyReleaseEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Close at once where nothing runs; else as soon as what runs has stopped.

        First the jobs, which may still hand a model to the saver; then the saver, which writes
        what is left; then the window. Nothing waits in the GUI thread.
        """
        if not self._leaving and not self.saving.may_close(self.close):
            event.ignore()
            return
        if not self._leaving:
            self._leaving = True
            self.leaving.begin()
            self.memory.keep_settings()
            self.document.end_stroke()
            self.memory.write_view()
            self.setEnabled(False)
            engine_busy = self.engine.shutdown()
            files_busy = self.files.shutdown() + self.recovery.shutdown()
            self.player.stop()
            cutting = self.orthogonal.shutdown()
            self.history_desk.stop()
            changing = self.regions.shutdown() + self.importing.shutdown()
            changing += self.gallery.shutdown() + self.images_desk.shutdown()
            changing += self.choosing.shutdown()
            self._running = engine_busy + files_busy + cutting + changing + self.counter.shutdown()
            if not self._running:
                self.saver.shutdown(Work.of(self.document, self.files.image))
        if not self._saver_done:
            event.ignore()
            return
        self.viewport.shutdown()
        if not self.leaving.gave_up:  # else the disk of the image may not answer either
            self.files.close_stack()
        super().closeEvent(event)

    def end(self) -> None:
        """Write what is left and close, without a question: nobody is there to answer it."""
        self.saving.close_unasked()
        self.leaving.close_unasked()
        # Dialogs first: one that waits for an answer would keep the program from ending.
        QApplication.closeAllWindows()

    def flush(self) -> None:
        """Return when all is on the disk, or after a few seconds: the computer is going down.

        What can not be written where it belongs goes to the recovery folder.
        """
        if self.leaving.gave_up:  # what could be done has been
            return
        self.document.end_stroke()
        saver = self.saver
        if not saver.unsaved:
            return
        in_vain = saver.problem or saver.hangs
        if in_vain or not saver.wait_written(FLUSH_SECONDS / 2):
            seconds = FLUSH_SECONDS if in_vain else FLUSH_SECONDS / 2
            saver.keep(Work.of(self.document, self.files.image), seconds)

    @Slot()
    def _part_finished(self) -> None:
        if self._leaving:
            self._running -= 1
            if self._running == 0:
                self.saver.shutdown(Work.of(self.document, self.files.image))

    @Slot()
    def _saver_finished(self) -> None:
        self._saver_done = True
        self.leaving.end()
        self.close()


def build(paths: Sequence[Path] = ()) -> MainWindow:
    """Return a shown window that opens the first of `paths`; a QApplication must exist."""
    Collector.watch(QApplication.instance())
    window = MainWindow()
    window.show()
    window.gallery.open_all(list(paths))
    # After the first paint: it looks into files.
    QTimer.singleShot(0, window.recovery.offer)
    return window


def run(paths: Sequence[Path]) -> int:
    """Show the window until it is closed; returns the exit code of the program."""
    app = QApplication([sys.argv[0]])
    app.setApplicationName("Limn")
    app.setApplicationDisplayName("Limn")
    app.setWindowIcon(assets.icon("limn", app.palette(), 64))
    log_to_file()
    crash = watch_crashes()
    window = build(paths)
    errors.install_hook(window.messages)
    if crash:
        errors.show_crash(window.messages, crash)
    Endings(app, window.end, window.flush)
    code = app.exec()
    end_watch()
    if window.leaving.gave_up:
        end_hard(code)
    return code
