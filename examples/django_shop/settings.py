"""The settings that Django needs for views and nothing else."""

SECRET_KEY = "for this machine only"
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "urls"
MIDDLEWARE = ["everstep.integrations.django.EverstepErrors"]
USE_TZ = True
