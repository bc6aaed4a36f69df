terraform {
  required_version = ">= 1.9" # conditions of a variable may refer to others

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0" # a subscription may be in the Region of its topic
    }
  }
}
