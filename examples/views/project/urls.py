"""The pages of the example."""

from __future__ import annotations

from django.urls import path
from prices import views

urlpatterns = [
    path("", views.index, name="index"),
    path("begin/", views.begin, name="begin"),
    path("live/", views.live, name="live"),
    path("runs/<int:run_id>/", views.show, name="run"),
    path("runs/<int:run_id>/events/", views.events, name="events"),
    path("runs/<int:run_id>/news/", views.news, name="news"),
    path("runs/<int:run_id>/stop/", views.stop, name="stop"),
]
